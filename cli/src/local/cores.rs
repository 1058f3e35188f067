//! Which worker gets how many cores.

/// Engine threads of each worker, decode workers first: every core to one worker, as evenly as can be, decode before
/// prefill. With more workers than cores each gets one thread.
pub(crate) fn split(cores: usize, decode: usize, prefill: usize) -> (Vec<usize>, Vec<usize>) {
    let workers = decode + prefill;
    let (each, rest) = (cores / workers.max(1), cores % workers.max(1));
    let threads = |index: usize| (each + usize::from(index < rest)).max(1);
    ((0..decode).map(threads).collect(), (decode..workers).map(threads).collect())
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn every_core_goes_to_one_worker_and_none_goes_without() {
        assert_eq!(split(8, 2, 2), (vec![2, 2], vec![2, 2]));
        assert_eq!(split(5, 2, 2), (vec![2, 1], vec![1, 1]));
        assert_eq!(split(3, 1, 1), (vec![2], vec![1]));
        assert_eq!(split(2, 2, 2), (vec![1, 1], vec![1, 1]));
        assert_eq!(split(4, 1, 0), (vec![4], vec![]));
        for cores in 1..40 {
            for (decode, prefill) in [(1, 0), (1, 1), (2, 3), (4, 2)] {
                let (d, p) = split(cores, decode, prefill);
                let total: usize = d.iter().chain(&p).sum();
                assert_eq!(total, cores.max(decode + prefill), "{cores} cores");
            }
        }
    }
}
