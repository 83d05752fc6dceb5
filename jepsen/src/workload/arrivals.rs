//! Open load: operations come at a fixed rate, whether or not those before are done. While a cluster stalls they pile
//! up, as users would; closed load would just do less, and hide the stall.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// Operations that may wait for a client; more are counted and not done.
const WAITING_MAX: usize = 2000;
const TICK: Duration = Duration::from_millis(10);

pub struct Arrivals {
    rate: u32,
    due: Semaphore,
    turned_away: AtomicU64,
}

impl Arrivals {
    pub fn new(rate: u32) -> Arrivals {
        Arrivals { rate, due: Semaphore::new(0), turned_away: AtomicU64::new(0) }
    }

    /// Makes operations due, until the load ends.
    pub async fn run(&self, stop: &CancellationToken) {
        let began = Instant::now();
        let mut made = 0;
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while tokio::select! { _ = ticks.tick() => true, () = stop.cancelled() => false } {
            let wanted = began.elapsed().as_millis() as u64 * u64::from(self.rate) / 1000;
            let (new, room) = (wanted - made, WAITING_MAX.saturating_sub(self.due.available_permits()) as u64);
            made = wanted;
            self.due.add_permits(new.min(room) as usize);
            self.turned_away.fetch_add(new.saturating_sub(room), Ordering::Relaxed);
        }
    }

    /// Waits for an operation. Whether there is one.
    pub async fn next(&self, stop: &CancellationToken) -> bool {
        tokio::select! {
            biased;
            () = stop.cancelled() => false,
            permit = self.due.acquire() => {
                permit.expect("the semaphore is never closed").forget();
                true
            }
        }
    }

    /// Operations that found too many others waiting.
    pub fn turned_away(&self) -> u64 {
        self.turned_away.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn operations_come_at_their_rate_and_pile_up_to_a_bound() {
        let (arrivals, stop) = (Arrivals::new(1000), CancellationToken::new());
        tokio::select! {
            () = arrivals.run(&stop) => unreachable!("nobody stops it"),
            () = tokio::time::sleep(Duration::from_millis(1005)) => {}
        }
        assert_eq!(arrivals.due.available_permits(), 1000);
        assert!(arrivals.next(&stop).await);
        assert_eq!((arrivals.due.available_permits(), arrivals.turned_away()), (999, 0));
        tokio::select! {
            () = arrivals.run(&stop) => unreachable!("nobody stops it"),
            () = tokio::time::sleep(Duration::from_millis(2005)) => {}
        }
        assert_eq!((arrivals.due.available_permits(), arrivals.turned_away()), (WAITING_MAX, 999));
        stop.cancel();
        assert!(!arrivals.next(&stop).await);
    }
}
