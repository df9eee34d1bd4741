//! The prefix cache: whole pages of keys and values by the tokens they were computed from.
//!
//! A tree for each set of adapters, a node a page: equal tokens under other adapters are other pages. A sequence under way
//! pins the path to the last page it took from the tree or gave to it; what nobody pins goes least recently used first,
//! from the leaves. Cost: a node keeps the page list of its whole prefix, so a path of n pages holds n²/2 page handles.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use crate::Sequence;

/// Tokens of a page, as the decoder lays them out.
pub(crate) const PAGE: usize = Sequence::PAGE;

/// Pages for this many tokens.
pub(crate) fn pages(tokens: usize) -> usize {
    tokens.div_ceil(PAGE)
}

/// A place in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Place(u64);

struct Node {
    parent: Option<Place>,
    children: HashMap<Box<[u32]>, Place>,
    /// None at a root, which stands for no page.
    page: Option<Page>,
    /// Pins of this node and of those below it.
    pins: usize,
    used: u64,
}

struct Page {
    tokens: Box<[u32]>,
    /// Everything up to the end of this page.
    prefix: Sequence,
    depth: usize,
}

/// Pages that are kept.
#[derive(Default)]
pub(crate) struct PrefixCache {
    nodes: HashMap<Place, Node>,
    roots: HashMap<Arc<str>, Place>,
    /// Leaves that nobody pins, least recently used first.
    idle: BTreeSet<(u64, Place)>,
    /// Nodes that are pages, and those of them that are pinned.
    pages: usize,
    pinned: usize,
    clock: u64,
    next: u64,
}

impl PrefixCache {
    /// The root for a set of adapters, pinned.
    pub(crate) fn root(&mut self, key: &Arc<str>) -> Place {
        let root = match self.roots.get(key) {
            Some(root) => *root,
            None => {
                let root = self.add(None, None);
                self.roots.insert(key.clone(), root);
                root
            }
        };
        self.pin(root);
        root
    }

    /// Moves a pin as far along `tokens` as there are pages, but leaves at least the last token to be computed. True where
    /// it moved.
    pub(crate) fn follow(&mut self, place: &mut Place, tokens: &[u32]) -> bool {
        let mut at = *place;
        while let Some(page) = tokens[..tokens.len().saturating_sub(1)].chunks_exact(PAGE).nth(self.depth(at)) {
            let Some(child) = self.nodes.get(&at).and_then(|node| node.children.get(page)) else { break };
            at = *child;
        }
        self.move_pin(place, at)
    }

    /// How many pages [`PrefixCache::follow`] would find from the root.
    pub(crate) fn found(&self, key: &Arc<str>, tokens: &[u32]) -> usize {
        let Some(mut at) = self.roots.get(key) else { return 0 };
        let mut depth = 0;
        for page in tokens[..tokens.len().saturating_sub(1)].chunks_exact(PAGE) {
            let Some(child) = self.nodes.get(at).and_then(|node| node.children.get(page)) else { break };
            (at, depth) = (child, depth + 1);
        }
        depth
    }

    /// Whether the page after `place` is in the tree.
    pub(crate) fn has(&self, place: Place, tokens: &[u32]) -> bool {
        self.nodes.get(&place).is_some_and(|node| node.children.contains_key(tokens))
    }

    /// Gives the tree the page after `place`, which it must not have yet, and moves the pin to it. `prefix` is everything up
    /// to the end of that page.
    pub(crate) fn extend(&mut self, place: &mut Place, tokens: &[u32], prefix: Sequence) {
        let page = Page { tokens: tokens.into(), prefix, depth: self.depth(*place) + 1 };
        let child = self.add(Some(*place), Some(page));
        if let Some(node) = self.nodes.get_mut(place) {
            node.children.insert(tokens.into(), child);
        }
        self.move_pin(place, child);
    }

    /// Pages up to a place.
    pub(crate) fn depth(&self, place: Place) -> usize {
        self.nodes.get(&place).and_then(|node| node.page.as_ref()).map_or(0, |page| page.depth)
    }

    /// A sequence of the pages up to a place; none at a root.
    pub(crate) fn sequence(&self, place: Place) -> Option<Sequence> {
        let page = self.nodes.get(&place)?.page.as_ref()?;
        Some(page.prefix.prefix(page.depth * PAGE))
    }

    /// Gives a pin back.
    pub(crate) fn release(&mut self, place: Place) {
        self.each_above(place, |cache, at| {
            let Some(node) = cache.nodes.get_mut(&at) else { return };
            node.pins -= 1;
            if node.pins == 0 {
                cache.pinned -= usize::from(node.page.is_some());
                cache.settle(at);
            }
        });
    }

    /// Drops the least recently used page that nobody pins; false where there is none.
    pub(crate) fn evict(&mut self) -> bool {
        let Some((_, place)) = self.idle.pop_first() else { return false };
        self.remove(place);
        true
    }

    /// Pages in the tree.
    pub(crate) fn pages(&self) -> usize {
        self.pages
    }

    /// Those of them that are in use.
    pub(crate) fn pinned(&self) -> usize {
        self.pinned
    }

    fn add(&mut self, parent: Option<Place>, page: Option<Page>) -> Place {
        let place = Place(self.next);
        self.next += 1;
        self.pages += usize::from(page.is_some());
        self.nodes.insert(place, Node { parent, children: HashMap::new(), page, pins: 0, used: 0 });
        place
    }

    fn move_pin(&mut self, place: &mut Place, to: Place) -> bool {
        if *place == to {
            return false;
        }
        self.pin(to);
        self.release(*place);
        *place = to;
        true
    }

    fn pin(&mut self, place: Place) {
        self.clock += 1;
        self.each_above(place, |cache, at| {
            let Some(node) = cache.nodes.get_mut(&at) else { return };
            cache.idle.remove(&(node.used, at));
            node.used = cache.clock;
            cache.pinned += usize::from(node.pins == 0 && node.page.is_some());
            node.pins += 1;
        });
    }

    /// A node that nobody pins any more and that has nothing below it may go; a root goes at once.
    fn settle(&mut self, place: Place) {
        let Some(node) = self.nodes.get(&place).filter(|node| node.pins == 0 && node.children.is_empty()) else {
            return;
        };
        if node.page.is_some() {
            self.idle.insert((node.used, place));
        } else {
            self.remove(place);
        }
    }

    fn remove(&mut self, place: Place) {
        let Some(node) = self.nodes.remove(&place) else { return };
        self.pages -= usize::from(node.page.is_some());
        match (node.parent, node.page) {
            (Some(parent), Some(page)) => {
                if let Some(above) = self.nodes.get_mut(&parent) {
                    above.children.remove(&page.tokens);
                }
                self.settle(parent);
            }
            _ => self.roots.retain(|_, root| *root != place),
        }
    }

    /// The place and all above it, upwards.
    fn each_above(&mut self, place: Place, mut each: impl FnMut(&mut Self, Place)) {
        let mut next = Some(place);
        while let Some(at) = next {
            next = self.nodes.get(&at).and_then(|node| node.parent);
            each(self, at);
        }
    }
}
