//! A token bucket for each peer: a burst at once, a rate over time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::config::Limits;

/// Who may ask now.
#[derive(Debug)]
pub(crate) struct Limiter {
    per_second: f64,
    burst: f64,
    /// What each peer has left, and when that was. Every request writes.
    buckets: Mutex<HashMap<IpAddr, (f64, Instant)>>,
}

impl Limiter {
    pub(crate) fn new(limits: &Limits) -> Limiter {
        let per_second = f64::from(limits.requests_per_minute) / 60.0;
        Limiter { per_second, burst: f64::from(limits.burst), buckets: Mutex::default() }
    }

    /// Lets a peer ask, or says how long it must wait.
    pub(crate) fn admit(&self, peer: IpAddr, now: Instant) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock();
        let refilled = |(left, at): (f64, Instant)| {
            (left + now.saturating_duration_since(at).as_secs_f64() * self.per_second).min(self.burst)
        };
        if buckets.len() >= MOST_PEERS && !buckets.contains_key(&key(peer)) {
            // A full bucket says nothing. If all are in use, the peers are many, and starting afresh is what is left.
            buckets.retain(|_, bucket| refilled(*bucket) < self.burst);
            if buckets.len() >= MOST_PEERS {
                buckets.clear();
            }
        }
        let bucket = buckets.entry(key(peer)).or_insert((self.burst, now));
        let left = refilled(*bucket);
        if left >= 1.0 {
            *bucket = (left - 1.0, now);
            return Ok(());
        }
        *bucket = (left, now);
        Err(Duration::from_secs_f64((1.0 - left) / self.per_second))
    }
}

/// Who has an IPv6 address has 2^64 of them.
fn key(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()),
        IpAddr::V4(_) => peer,
    }
}

/// Peers that are remembered.
const MOST_PEERS: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let limiter = Limiter::new(&Limits { requests_per_minute: 60, burst: 3, ..Limits::default() });
        let (peer, start) = ("192.0.2.1".parse().unwrap(), Instant::now());
        let admitted = (0..10).filter(|_| limiter.admit(peer, start).is_ok()).count();
        assert_eq!(admitted, 3);
        assert!(limiter.admit("192.0.2.2".parse().unwrap(), start).is_ok(), "another peer");
        let wait = limiter.admit(peer, start).unwrap_err();
        assert!(wait > Duration::from_millis(900) && wait <= Duration::from_secs(1), "{wait:?}");
        assert!(limiter.admit(peer, start + Duration::from_millis(1100)).is_ok());
        assert!(limiter.admit(peer, start + Duration::from_millis(1200)).is_err());
        let (first, second) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
        assert!((0..3).all(|_| limiter.admit(first, start).is_ok()) && limiter.admit(second, start).is_err());
    }

    #[test]
    fn memory_is_bounded() {
        let limiter = Limiter::new(&Limits::default());
        let now = Instant::now();
        (0..30_000u32).for_each(|peer| _ = limiter.admit(IpAddr::V4(peer.into()), now));
        assert!(limiter.buckets.lock().len() <= MOST_PEERS);
    }
}
