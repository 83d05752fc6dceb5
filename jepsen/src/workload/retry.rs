//! Late retries: a send that was acknowledged is sent once more, some time later, to any node, after whatever happened
//! meanwhile. It must be answered as the first time was, and nothing may be written: a second copy is found by whoever
//! reads it.

use crate::workload::http::Call;
use crate::workload::lane::Lane;
use crate::workload::send::{self, Request};
use crate::workload::world::World;
use rand::Rng;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;

/// How many acknowledged sends a client remembers. Well below the number of keys that a partition remembers.
const REMEMBERED: usize = 64;
/// One of so many sends is sent again later.
const ONE_OF: u32 = 20;

#[derive(Default)]
pub struct Retries {
    remembered: VecDeque<(Request, Call, Vec<u64>)>,
}

impl Retries {
    /// Remembers some of what was acknowledged.
    pub fn remember(&mut self, world: &World, lane: &mut Lane, request: Request, offsets: Vec<u64>) {
        if request.idempotency_key.is_some() && lane.random.random_ratio(1, ONE_OF) {
            let call = request.call(world);
            self.remembered.push_back((request, call, offsets));
            if self.remembered.len() > REMEMBERED {
                self.remembered.pop_front();
            }
        }
    }

    /// Now and then sends one again.
    pub async fn now_and_then(&mut self, world: &World, lane: &mut Lane) {
        if self.remembered.is_empty() || !lane.random.random_ratio(1, ONE_OF) {
            return;
        }
        let at = lane.random.random_range(0..self.remembered.len());
        let Some((request, call, offsets)) = self.remembered.remove(at) else { return };
        if world.place(request.key).is_gone() {
            return;
        }
        lane.turn();
        let Ok(answer) = lane.http.call(lane.node(), &call, world.load.try_time_max).await else { return };
        world.tally.retries.fetch_add(1, Ordering::Relaxed);
        let status = answer.status.as_u16();
        let wrong = match status {
            200 => {
                let told = send::offsets(&request, &answer);
                (told.as_ref() != Ok(&offsets)).then(|| format!("first {offsets:?}, then {told:?}"))
            }
            429 | 503 | 504 => None,
            _ => Some(format!("first {offsets:?}, then {status}: {}", answer.detail())),
        };
        if let Some(wrong) = wrong {
            world.incident("retry-answered-differently", format!("key {}: {wrong}", request.key));
        }
    }
}
