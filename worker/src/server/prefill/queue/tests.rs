//! The queue's order, its limit, and what leaves it.

use ampd_perfmodel::{DecodeSegment, PrefillSegment, Transfer};

use super::*;
use crate::protocol::Salt;

/// One second for each token.
fn perf() -> (PerfModel, f64) {
    let model = PerfModel {
        prefill: vec![PrefillSegment { max_increment: u64::MAX, k0: 0.0, k1: 1.0, k2: 0.0 }],
        decode: vec![DecodeSegment { max_batch: u64::MAX, k0: 0.0, k1: 0.0, k2: 0.0 }],
        transfer: Transfer { latency_s: 0.0, bytes_per_s: 1.0, bytes_per_token: 1.0 },
    };
    (model, 0.0)
}

fn push(queue: &Arc<Queue>, name: &str, increment: usize, slo_s: u64) -> Result<(Ticket, u64), ApiError> {
    let task = PrefillTask {
        task: name.into(),
        request_id: "r".into(),
        session: "s".into(),
        salt: Salt([0; 32]),
        tokens: vec![0; 7 + increment],
        history: 7,
        handle: String::new(),
        kv_addr: String::new(),
        kv_server_name: String::new(),
        age_ms: 0,
        ttft_slo_ms: slo_s * 1000,
    };
    queue.push(task, "0".repeat(32).parse().unwrap(), Instant::now(), mpsc::channel(1).0)
}

fn queue(lookahead: usize, cap: u32) -> Arc<Queue> {
    Arc::new(Queue::new(Order::Head { lookahead, cap }, 512))
}

async fn next(queue: &Arc<Queue>) -> (String, usize) {
    let (job, _, overtaken) = queue.next(perf).await;
    (job.task.task, overtaken)
}

#[tokio::test]
async fn urgent_short_tasks_go_before_long_ones_until_those_were_postponed_enough() {
    let queue = queue(3, 2);
    let mut tickets = vec![push(&queue, "long", 500, 10_000).unwrap().0];
    for name in ["a", "b", "c"] {
        tickets.push(push(&queue, name, 10, 15).unwrap().0);
    }
    let mut order = Vec::new();
    for _ in 0..4 {
        order.push(next(&queue).await);
    }
    let names: Vec<&str> = order.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a", "b", "long", "c"]);
    assert_eq!(order[0].1, 1);
}

#[tokio::test]
async fn without_lookahead_tasks_keep_their_order() {
    let queue = queue(1, 3);
    let _tickets = [push(&queue, "long", 500, 10_000).unwrap(), push(&queue, "urgent", 1, 2).unwrap()];
    assert_eq!(next(&queue).await.0, "long");
    assert_eq!(next(&queue).await.0, "urgent");
}

#[tokio::test]
async fn by_slack_the_whole_queue_is_looked_at_and_the_longest_gives_way() {
    let queue = Arc::new(Queue::new(Order::SLACK, 512));
    let mut tickets = vec![push(&queue, "long", 500, 505).unwrap().0];
    for (name, slo_s) in [("a", 510), ("b", 510), ("c", 510), ("urgent", 11)] {
        tickets.push(push(&queue, name, 10, slo_s).unwrap().0);
    }
    let mut order = Vec::new();
    for _ in 0..5 {
        order.push(next(&queue).await.0);
    }
    assert_eq!(order, ["urgent", "a", "b", "c", "long"]);
}

#[tokio::test]
async fn a_task_counts_until_the_engine_has_it_and_leaves_with_its_ticket() {
    let queue = queue(3, 3);
    let (first, position) = push(&queue, "first", 5, 10).unwrap();
    let (second, behind) = push(&queue, "second", 6, 20).unwrap();
    assert_eq!((position, behind), (0, 1));
    let (job, preparing, _) = queue.next(perf).await;
    let parts = [5, 6].map(|increment| PrefillPart { history: 7, increment });
    assert_eq!(queue.waiting(), parts);
    drop(second);
    assert_eq!(queue.waiting(), parts[..1]);
    assert!(!job.cancel.is_cancelled());
    drop(first);
    assert!(job.cancel.is_cancelled());
    drop(preparing);
    assert!(queue.waiting().is_empty());
}

#[test]
fn a_full_queue_refuses() {
    let queue = queue(3, 3);
    let mut tickets: Vec<_> = (0..LIMIT).map(|_| push(&queue, "t", 1, 1).unwrap()).collect();
    let refused = push(&queue, "more", 1, 1).err();
    assert!(matches!(refused, Some(ApiError::Detail(detail)) if detail.code == ErrorCode::Overloaded));
    tickets.pop();
    assert!(push(&queue, "more", 1, 1).is_ok());
}

#[tokio::test]
async fn tasks_that_share_a_step_prepare_together_and_large_ones_two_at_a_time() {
    let taken = async |increment: usize| {
        let queue = Arc::new(Queue::new(Order::SLACK, 512));
        let tickets: Vec<_> = (0..20).map(|_| push(&queue, "t", increment, 10).unwrap()).collect();
        let mut preparing = Vec::new();
        while let Ok((_, one, _)) = tokio::time::timeout(Duration::from_millis(20), queue.next(perf)).await {
            preparing.push(one);
        }
        let count = preparing.len();
        // One that has prepared makes room for the next.
        preparing.pop();
        let next = tokio::time::timeout(Duration::from_secs(5), queue.next(perf)).await;
        assert!(next.is_ok());
        drop(tickets);
        count
    };
    assert_eq!((taken(600).await, taken(300).await, taken(100).await, taken(10).await), (2, 2, 6, 16));
}
