//! [`Admission`]: how many requests are in the engines at once, and of whom.
//!
//! Requests beyond a number are refused. A tenant may have as many under way as there are places left: whoever is alone gets
//! half of them, the next a quarter, and a newcomer finds one until nearly all are taken (dynamic thresholds, Choudhury and
//! Hahne 1998). Without that, the one who sends most would stand in front of the lane's fair queue and keep all others out.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

/// The places. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Admission {
    most: usize,
    /// Requests under way by tenant, none of them 0. Written by `admit` and by a place's drop.
    under_way: Arc<Mutex<HashMap<String, usize>>>,
}

/// A request's place, free again when this is dropped.
pub(crate) struct Admitted {
    tenant: String,
    under_way: Arc<Mutex<HashMap<String, usize>>>,
}

impl Admission {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, under_way: Arc::default() }
    }

    /// A place, if the tenant may have one.
    pub(crate) fn admit(&self, tenant: &str) -> Option<Admitted> {
        let mut under_way = self.under_way.lock();
        let left = self.most.saturating_sub(under_way.values().sum());
        if under_way.get(tenant).copied().unwrap_or(0) >= left {
            return None;
        }
        *under_way.entry(tenant.to_owned()).or_default() += 1;
        Some(Admitted { tenant: tenant.to_owned(), under_way: self.under_way.clone() })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut under_way = self.under_way.lock();
        if let Some(count) = under_way.get_mut(&self.tenant) {
            *count -= 1;
            if *count == 0 {
                under_way.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tenant_leaves_room_for_others() {
        let admission = Admission::new(64);
        let many = |tenant: &str| std::iter::from_fn(|| admission.admit(tenant)).collect::<Vec<_>>();
        let greedy = many("greedy");
        let (second, third) = (many("second"), many("third"));
        assert_eq!((greedy.len(), second.len(), third.len()), (32, 16, 8));
        assert!(admission.admit("greedy").is_none() && admission.admit("newcomer").is_some());
        drop(second);
        assert_eq!(many("third").len(), 8, "8 and 8 more: half of the 32 that greedy leaves");
        drop((greedy, third));
        assert!(admission.under_way.lock().is_empty(), "no tenant is kept in memory");
    }

    #[test]
    fn a_single_place_is_a_place() {
        let admission = Admission::new(1);
        let first = admission.admit("a");
        assert!(first.is_some() && admission.admit("b").is_none());
        drop(first);
        assert!(admission.admit("b").is_some());
    }
}
