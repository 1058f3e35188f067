//! What a person would want to know of a reconcile, as events.

use ampd_api::{AMPDService, AMPDServiceStatus};
use kube::runtime::events::EventType;

use super::conditions::{AS_EXPECTED, ROLLING, SCALING_DOWN, STARTING};
use super::update_status::{self, Seen};
use crate::condition::{self, ConditionType, Reason};
use crate::context::Context;

/// Events for what a person would want to know.
pub(super) fn tell_changes(
    resource: &AMPDService,
    status: &AMPDServiceStatus,
    seen: &Seen<'_>,
    context: &Context,
) {
    let Seen { validated, plan, .. } = *seen;
    let before = resource.status.clone().unwrap_or_default();
    if let Some((severity, word, note)) = ready_changed(&before, status) {
        context.tell(resource, severity, word, note);
    }
    if let Some((met, note)) = slo_changed(&before, status) {
        let (severity, word) = if met {
            (EventType::Normal, const { Reason::new("SLOMet") })
        } else {
            (EventType::Warning, const { Reason::new("SLOMissed") })
        };
        context.tell(resource, severity, word, note);
    }
    if before.active_revision.is_some() && before.active_revision != status.active_revision {
        let (old, new) =
            (before.active_revision.unwrap_or_default(), status.active_revision.clone().unwrap_or_default());
        let note = format!("clients go to revision {new}; {old} drains");
        context.tell(resource, EventType::Normal, const { Reason::new("RevisionSwitched") }, note);
    }
    if !plan.drain.mark.is_empty() {
        let note = format!(
            "no new sessions on {}; they go when their rounds are over and their sessions have moved",
            plan.drain.mark.join(", ")
        );
        context.tell(resource, EventType::Normal, const { Reason::new("Draining") }, note);
    }
    if !plan.drain.going.is_empty() {
        let note = format!(
            "{} go now; {} sessions have moved, {} have not",
            plan.drain.going.join(", "),
            plan.drain.moved,
            plan.drain.left
        );
        context.tell(resource, EventType::Normal, const { Reason::new("Drained") }, note);
    }
    if !plan.drain.unmark.is_empty() {
        let note = format!("{} stay after all and take new sessions again", plan.drain.unmark.join(", "));
        context.tell(resource, EventType::Normal, const { Reason::new("DrainCancelled") }, note);
    }
    for remark in &validated.remarks {
        context.tell(resource, EventType::Warning, const { Reason::new("Clamped") }, remark.clone());
    }
}

/// What there is to say of a service that is ready or not in another way than before. Workers that come and go while
/// enough are ready are no news: the condition tells of them, and the cluster's own events.
fn ready_changed(
    before: &AMPDServiceStatus,
    status: &AMPDServiceStatus,
) -> Option<(EventType, Reason, String)> {
    let ready = |status: &AMPDServiceStatus| {
        let found = condition::find(&status.conditions, ConditionType::Ready);
        found.map(|found| (found.status.clone(), found.reason.clone(), found.message.clone()))
    };
    let (state, reason, message) = ready(status)?;
    let note = format!("{reason}: {message}");
    let was = ready(before).map(|(state, reason, _)| (state, reason));
    if was
        .as_ref()
        .is_some_and(|(was, because)| *was == state && (*because == reason || quiet(because, &reason)))
    {
        return None;
    }
    Some(match state.as_str() {
        "True" => (EventType::Normal, const { Reason::new("Ready") }, note),
        // Workers that are still to come are nothing to be warned of.
        _ if reason == STARTING.as_str() => (EventType::Normal, const { Reason::new("NotReady") }, note),
        _ => (EventType::Warning, const { Reason::new("NotReady") }, note),
    })
}

/// Whether both reasons are of a service that serves as it is asked to.
fn quiet(before: &str, now: &str) -> bool {
    let serves = [AS_EXPECTED, ROLLING, SCALING_DOWN].map(Reason::as_str);
    [before, now].iter().all(|reason| serves.contains(reason))
}

/// Whether the objectives are met again, or no more, and what there is to say of it. Where it was not known before, the
/// condition alone tells: rounds that come and go would make too many events.
fn slo_changed(before: &AMPDServiceStatus, status: &AMPDServiceStatus) -> Option<(bool, String)> {
    let (was, is) = (update_status::slo_met(before)?, update_status::slo_met(status)?);
    let found = condition::find(&status.conditions, ConditionType::SloMet)?;
    (was != is).then(|| (is, format!("{}: {}", found.reason, found.message)))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::condition::{Holds, NewCondition};

    fn status(kind: ConditionType, holds: Holds, reason: Reason) -> AMPDServiceStatus {
        let mut status = AMPDServiceStatus::default();
        let message = "words".to_owned();
        let made = NewCondition { kind, holds, reason, message, observed_generation: None };
        condition::set(&mut status.conditions, made, Timestamp::UNIX_EPOCH);
        status
    }

    fn ready(holds: Holds, reason: Reason) -> AMPDServiceStatus {
        status(ConditionType::Ready, holds, reason)
    }

    fn told(before: &AMPDServiceStatus, now: &AMPDServiceStatus) -> Option<(bool, &'static str)> {
        let (severity, word, _) = ready_changed(before, now)?;
        Some((matches!(severity, EventType::Warning), word.as_str()))
    }

    #[test]
    fn what_serves_as_it_is_asked_to_is_no_news() {
        let (none, expected) = (AMPDServiceStatus::default(), ready(Holds::True, AS_EXPECTED));
        let [rolling, fewer] = [ROLLING, SCALING_DOWN].map(|reason| ready(Holds::True, reason));
        assert_eq!(told(&none, &expected), Some((false, "Ready")));
        for (before, now) in
            [(&expected, &rolling), (&rolling, &fewer), (&fewer, &expected), (&rolling, &rolling)]
        {
            assert_eq!(told(before, now), None);
        }
        let replacing = ready(Holds::True, const { Reason::new("ReplacingRevision") });
        assert_eq!(told(&expected, &replacing), Some((false, "Ready")));
        assert_eq!(told(&replacing, &expected), Some((false, "Ready")));
    }

    #[test]
    fn what_does_not_serve_is_warned_of_unless_workers_merely_start() {
        let expected = ready(Holds::True, AS_EXPECTED);
        let starting = ready(Holds::False, STARTING);
        let failing = ready(Holds::False, const { Reason::new("ContainerFails") });
        assert_eq!(told(&expected, &starting), Some((false, "NotReady")));
        assert_eq!(told(&starting, &failing), Some((true, "NotReady")));
        assert_eq!(told(&failing, &failing), None);
        assert_eq!(told(&failing, &expected), Some((false, "Ready")));
    }

    #[test]
    fn objectives_are_told_of_when_they_are_lost_or_met_again() {
        let slo = |holds| status(ConditionType::SloMet, holds, const { Reason::new("Why") });
        let [met, missed, unknown] = [Holds::True, Holds::False, Holds::Unknown].map(slo);
        assert_eq!(slo_changed(&met, &missed), Some((false, "Why: words".to_owned())));
        assert_eq!(slo_changed(&missed, &met).map(|(met, _)| met), Some(true));
        assert_eq!((slo_changed(&unknown, &missed), slo_changed(&met, &unknown)), (None, None));
    }
}
