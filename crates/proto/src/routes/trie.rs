//! Disjoint ranges as a compressed trie of 64-way nodes, in the manner of Poptrie (Asai and Ohara,
//! SIGCOMM 2015), with skipped paths.
//!
//! Each node takes 6 bits of the address. Its slots are leaves or further nodes; two bit maps say
//! which, and where a run of equal leaves begins, so that what is stored is one number a run. Where
//! all that is of interest lies below one prefix, the levels above it are skipped: the node keeps
//! that prefix and the value of every address outside.
//!
//! Invariants: node 0 is the root, if there is any node; the children of a node lie beside each
//! other, and so do its leaves; a child takes bits behind its parent's, up to the last 6, which
//! bounds the depth to ⌈bits / 6⌉.

use super::NOBODY;
use super::ranges::{Bits, Range};

/// How many bits of an address a node takes.
const STRIDE: u32 = 6;
/// How many slots a node has.
const SLOTS: u32 = 1 << STRIDE;

/// A trie over addresses of type `A`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trie<A> {
    nodes: Box<[Node<A>]>,
    leaves: Box<[u32]>,
    /// The value of all addresses where there is no node.
    everywhere: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Node<A> {
    /// The addresses below start like this, for `position` bits.
    path: A,
    /// Which slots are nodes.
    children: u64,
    /// Which slots begin a run of equal leaves; slot 0 does, or the first one that is a leaf.
    runs: u64,
    first_child: u32,
    first_leaf: u32,
    /// The value of addresses that do not start like `path`.
    elsewhere: u32,
    /// The first of the bits that this node takes.
    position: u32,
}

const _: () = assert!(size_of::<Node<u32>>() <= 40 && size_of::<Node<u128>>() <= 48);

impl<A> Default for Trie<A> {
    fn default() -> Self {
        Self { nodes: Box::default(), leaves: Box::default(), everywhere: NOBODY }
    }
}

impl<A: Bits> Trie<A> {
    /// Folds ranges, as [`flatten`](super::ranges::flatten) returns them.
    pub(super) fn new(ranges: &[Range<A>]) -> Self {
        let everywhere = ranges.first().map_or(NOBODY, |first| first.value);
        let mut builder = Builder { nodes: Vec::new(), leaves: Vec::new() };
        if ranges.len() > 1 {
            builder.nodes.push(Node::default());
            builder.fill(0, ranges, 0);
        }
        Self { nodes: builder.nodes.into(), leaves: builder.leaves.into(), everywhere }
    }

    /// Returns the value of an address.
    #[inline]
    pub(super) fn lookup(&self, address: A) -> u32 {
        let Some(mut node) = self.nodes.first() else { return self.everywhere };
        loop {
            if !address.starts_like(node.path, node.position) {
                return node.elsewhere;
            }
            let bit = 1_u64 << address.slot(node.position);
            let up_to = bit | (bit - 1);
            if node.children & bit == 0 {
                let run = (node.runs & up_to).count_ones();
                return self.leaves[(node.first_leaf + run - 1) as usize];
            }
            let child = (node.children & up_to).count_ones();
            node = &self.nodes[(node.first_child + child - 1) as usize];
        }
    }

    /// Returns how many bytes there are on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.nodes) + size_of_val(&*self.leaves)
    }

    /// Returns how many nodes the deepest look-up visits.
    #[cfg(test)]
    pub(super) fn depth(&self) -> usize {
        fn below<A>(nodes: &[Node<A>], at: usize) -> usize {
            let Some(node) = nodes.get(at) else { return 0 };
            let first = node.first_child as usize;
            let children = first..first + node.children.count_ones() as usize;
            1 + children.map(|child| below(nodes, child)).max().unwrap_or(0)
        }
        below(&self.nodes, 0)
    }
}

struct Builder<A> {
    nodes: Vec<Node<A>>,
    leaves: Vec<u32>,
}

impl<A: Bits> Builder<A> {
    /// Fills node `at` with `ranges`, at least two, which make up the block of addresses that
    /// share their first `len` bits; the first may start before the block.
    fn fill(&mut self, at: usize, ranges: &[Range<A>], len: u32) {
        let [first, second, ..] = ranges else { return };
        let last = ranges[ranges.len() - 1];
        // where both ends of the block have one value, only what lies between is of interest
        let wanted = if first.value == last.value {
            second.start.shared(last.start.before()).max(len)
        } else {
            len
        };
        let position = wanted.min(A::BITS - STRIDE);
        let path = second.start.head(position);
        let elsewhere = first.value;

        // slot by slot, the ranges that have a part in it
        let mut slots: Vec<(u32, &[Range<A>])> = Vec::new();
        let mut from = 0;
        for slot in 0..SLOTS {
            let start = path.with_slot(position, slot);
            let end = (slot + 1 < SLOTS).then(|| path.with_slot(position, slot + 1));
            while ranges.get(from + 1).is_some_and(|next| next.start <= start) {
                from += 1;
            }
            let to = match end {
                Some(end) => from + ranges[from..].partition_point(|range| range.start < end),
                // behind the last slot the block may go on
                None => {
                    let inside = |range: &Range<A>| range.start.starts_like(path, position);
                    from + 1 + ranges[from + 1..].partition_point(inside)
                }
            };
            slots.push((slot, &ranges[from..to.max(from + 1)]));
        }

        let (mut children, mut runs) = (0_u64, 0_u64);
        let first_leaf = self.leaves.len();
        let mut run = None;
        for (slot, part) in &slots {
            let bit = 1_u64 << slot;
            if part.len() > 1 {
                children |= bit;
            } else if run != Some(part[0].value) {
                run = Some(part[0].value);
                runs |= bit;
                self.leaves.push(part[0].value);
            }
        }
        let first_child = self.nodes.len();
        let count = children.count_ones() as usize;
        self.nodes.resize(first_child + count, Node::default());
        self.nodes[at] = Node {
            path,
            children,
            runs,
            first_child: index(first_child),
            first_leaf: index(first_leaf),
            elsewhere,
            position,
        };
        let parts = slots.iter().map(|(_, part)| *part).filter(|part| part.len() > 1);
        for (child, part) in (first_child..).zip(parts) {
            self.fill(child, part, position + STRIDE);
        }
    }
}

/// Numbers a node or leaf: 2^32 of them would take a hundred gigabytes.
fn index(at: usize) -> u32 {
    u32::try_from(at).expect("fewer than 2^32 nodes and leaves")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range<A>((start, value): (A, u32)) -> Range<A> {
        Range { start, value }
    }

    #[test]
    fn paths_are_skipped_where_nothing_stands() {
        let host = 0x0a07_0002_u32;
        let trie = Trie::new(&[(0, NOBODY), (host, 1), (host + 1, NOBODY)].map(range));
        assert_eq!((trie.nodes.len(), trie.depth()), (1, 1));
        assert_eq!([host - 1, host, host + 1].map(|a| trie.lookup(a)), [NOBODY, 1, NOBODY]);
        assert_eq!([0, u32::MAX].map(|a| trie.lookup(a)), [NOBODY; 2]);
    }

    #[test]
    fn everything_may_have_one_value() {
        let trie = Trie::new(&[range((0_u128, 7))]);
        assert_eq!([0, 1, u128::MAX].map(|a| trie.lookup(a)), [7; 3]);
        assert_eq!((trie.depth(), trie.heap_bytes()), (0, 0));
        assert_eq!(Trie::<u32>::default().lookup(5), NOBODY);
    }

    /// A prefix in each prefix, down to one address: nothing can be skipped.
    #[test]
    fn the_depth_is_bounded() {
        let mut v4: Vec<_> = (0..32).map(|bit| range((1_u32 << bit, 32 - bit))).collect();
        v4.insert(0, range((0, 99)));
        let trie = Trie::new(&v4);
        assert_eq!(trie.depth(), 6);
        for range in &v4 {
            assert_eq!(trie.lookup(range.start), range.value);
        }
        let mut v6: Vec<_> = (0..128).map(|bit| range((1_u128 << bit, 128 - bit))).collect();
        v6.insert(0, range((0, 999)));
        let trie = Trie::new(&v6);
        assert_eq!(trie.depth(), 22);
        for range in &v6 {
            assert_eq!(trie.lookup(range.start), range.value);
        }
    }

    #[test]
    fn a_hundred_thousand_hosts_are_a_few_levels_and_bytes_each() {
        let mut ranges = vec![range((0_u32, NOBODY))];
        ranges.extend((0..100_000).map(|n| range((0x0a00_0000 + n, n))));
        ranges.push(range((0x0a00_0000 + 100_000, NOBODY)));
        let trie = Trie::new(&ranges);
        assert_eq!(trie.depth(), 3);
        assert!(trie.heap_bytes() < 600_000, "{}", trie.heap_bytes());
        for n in (0..100_000).step_by(97) {
            assert_eq!(trie.lookup(0x0a00_0000 + n), n);
        }
        // far apart, each takes a path of its own at most
        let mut apart = vec![range((0_u128, NOBODY))];
        for n in 0..10_000_u128 {
            let host = (n + 1) * 0x5851_f42d_4c95_7f2d_1405_7b7e_f767;
            apart.push(range((host, n as u32)));
            apart.push(range((host + 1, NOBODY)));
        }
        let trie = Trie::new(&apart);
        assert!(trie.heap_bytes() < 10_000 * 100, "{}", trie.heap_bytes());
        for range in &apart {
            assert_eq!(trie.lookup(range.start), range.value);
        }
    }
}
