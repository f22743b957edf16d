//! The last step: changes in the order of their commits, each written once for all who are sent the same bytes.
//!
//! It goes no faster than subscribers take, as long as their patience lasts: PostgreSQL's log keeps what is not read.
//! Who left meanwhile, or whose token ended, is sent nothing more, whatever the plan of the batch was.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::Instant;

use super::ask::Verdict;
use super::matching::Work;
use super::payload;
use super::plan::{Cohort, Hit, Plan};
use super::registry::Member;
use crate::change::Change;
use crate::event::{CHANGES, Event};
use crate::outbox::Offered;
use crate::tokens::now_secs;

/// Changes delivered before others get a turn on this thread.
const TURN: usize = 64;

/// Put all changes of `works` into their subscribers' outboxes.
pub(super) async fn deliver(changes: &[Change], works: &[Work]) {
    let mut order: Vec<(usize, usize, usize)> = Vec::new();
    for (work_idx, work) in works.iter().enumerate() {
        order.extend(work.rows.iter().enumerate().map(|(idx, row)| (*row, work_idx, idx)));
    }
    order.sort_unstable();
    let (mut frames, mut now) = (Frames::default(), now_secs());
    for (turn, (row, work_idx, idx)) in order.into_iter().enumerate() {
        let (Some(change), Some(work)) = (changes.get(row), works.get(work_idx)) else { continue };
        frames.clear();
        let mut crowded = Vec::new();
        for hit in work.hits.get(idx).into_iter().flatten() {
            let Some(cohort) = work.plan.cohorts.get(hit.cohort) else { continue };
            let Some(event) =
                frames.event((change, &work.plan), cohort, (*hit, work.verdict(cohort, change, idx)))
            else {
                continue;
            };
            for member in cohort.members.iter().filter(|it| !it.is_over(now)) {
                if member.outbox.offer(&event) == Offered::Crowded {
                    crowded.push((member, Arc::clone(&event)));
                }
            }
        }
        if !crowded.is_empty() {
            squeeze(crowded).await;
            now = now_secs();
        } else if turn % TURN == TURN - 1 {
            tokio::task::yield_now().await;
            now = now_secs();
        }
    }
}

/// Send when there is room, or when nobody waits for it any longer; for all at once.
async fn squeeze(crowded: Vec<(&Arc<Member>, Arc<Event>)>) {
    let began = Instant::now();
    let sending = crowded.into_iter().map(|(member, event)| async move {
        member.outbox.room(event.size_bytes()).await;
        if !member.is_over(now_secs()) {
            member.outbox.send(&event);
        }
    });
    join_all(sending).await;
    metrics::histogram!("madbase_realtime_feed_held_up_seconds").record(began.elapsed());
}

/// What was written of one change.
#[derive(Default)]
struct Frames {
    /// By view.
    data: HashMap<usize, Bytes>,
    events: HashMap<Sameness, Arc<Event>>,
}

/// Class, specs and error.
type Sameness = (usize, u128, Option<Arc<str>>);

impl Frames {
    fn clear(&mut self) {
        self.data.clear();
        self.events.clear();
    }

    /// What `cohort` is sent, if anything.
    fn event(
        &mut self,
        (change, plan): (&Change, &Plan),
        cohort: &Cohort,
        (hit, verdict): (Hit, Verdict),
    ) -> Option<Arc<Event>> {
        let error = match verdict {
            Verdict::Hidden => return None,
            Verdict::Visible => None,
            Verdict::Failed(error) => Some(error),
        };
        let name = (cohort.class, hit.mask, error);
        if let Some(event) = self.events.get(&name) {
            return Some(Arc::clone(event));
        }
        let data = match &name.2 {
            Some(error) => payload::refusal(change, error).into(),
            None => self.data(change, plan, cohort.view)?,
        };
        let ids =
            cohort.ids.iter().enumerate().filter(|(bit, _)| hit.mask >> bit & 1 == 1).map(|(_, id)| *id);
        let event = Event::json(&cohort.topic, CHANGES, payload::addressed(ids, &data));
        self.events.insert(name, Arc::clone(&event));
        Some(event)
    }

    fn data(&mut self, change: &Change, plan: &Plan, view: usize) -> Option<Bytes> {
        if let Some(data) = self.data.get(&view) {
            return Some(data.clone());
        }
        let data = Bytes::from(plan.views.get(view)?.data(change));
        self.data.insert(view, data.clone());
        Some(data)
    }
}
