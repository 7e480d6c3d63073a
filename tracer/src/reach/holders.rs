//! What holds the blocks of one kind: the ways from roots to them that most have in common.

use std::collections::BTreeMap;

use super::fold::Chain;
use crate::profile::{HeldFrom, MOST_LINKS};

/// Part of the blocks, in percent, that a way must hold to be the holder of them.
const DOMINANT_PERCENT: usize = 80;
/// How many ways are told.
const MOST_WAYS: usize = 3;

/// Blocks that each hold the next one, of several chains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The kind of the blocks.
    pub kind: u32,
    /// Name of their type.
    pub type_name: Option<String>,
    /// Least and most bytes of one.
    pub sizes: (u64, u64),
    /// Shortest and longest run.
    pub lengths: (u32, u32),
}

/// A way from a root to blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// Where it begins.
    pub root: HeldFrom,
    /// From the root on, at most [`MOST_LINKS`].
    pub links: Vec<Link>,
    /// Links that are not told, the blocks themselves among them.
    pub more_links: u32,
    /// Blocks that are held this way.
    pub shared: u32,
}

/// What is told of a block: its bytes, and the name of its type where that is known.
pub type Describe<'a> = dyn FnMut(u32) -> (u64, Option<String>) + 'a;

/// The ways that the chains of blocks of one kind go, the most frequent first: at first those that are the same from
/// the root to the block. Where no such way is that of most of them, those count as one that begin alike.
pub fn ways(chains: &[(HeldFrom, Chain)], describe: &mut Describe<'_>) -> Vec<Way> {
    let most = chains
        .iter()
        .map(|(_, chain)| chain.links.len())
        .max()
        .unwrap_or(0);
    let is_dominant = |groups: &[Group<'_>]| {
        let largest = groups.first().map_or(0, |group| group.chains.len());
        largest * 100 >= chains.len() * DOMINANT_PERCENT
    };
    let whole = grouped(chains, most, true);
    // First without the place within the root's variable or mapping, then with fewer links.
    let mut coarser = (0..=most)
        .rev()
        .map(|links| grouped(chains, links, false))
        .skip_while(|groups| !is_dominant(groups));
    let groups = match is_dominant(&whole) {
        true => whole,
        false => coarser.next().unwrap_or(whole),
    };
    let first = groups.into_iter().take(MOST_WAYS);
    first.map(|group| group.way(describe)).collect()
}

/// Chains that begin alike.
struct Group<'a> {
    root: HeldFrom,
    /// Number of links that they have in common.
    links: usize,
    chains: Vec<&'a Chain>,
}

/// Groups chains by their roots and first links; `exact` tells whether the place within what a root's name stands for
/// counts.
fn grouped(chains: &[(HeldFrom, Chain)], links: usize, exact: bool) -> Vec<Group<'_>> {
    let mut groups: BTreeMap<_, Group<'_>> = BTreeMap::new();
    for (root, chain) in chains {
        let offset = root.offset.filter(|_| exact && root.name.is_none());
        let root = HeldFrom {
            offset,
            ..root.clone()
        };
        let kinds: Vec<u32> = chain
            .links
            .iter()
            .take(links)
            .map(|link| link.kind)
            .collect();
        let key = (
            root.kind,
            root.module.clone(),
            root.name.clone(),
            root.thread,
            offset,
            kinds,
        );
        let group = groups.entry(key).or_insert_with(|| Group {
            root,
            links,
            chains: Vec::new(),
        });
        group.chains.push(chain);
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.chains.len()));
    groups
}

impl Group<'_> {
    fn way(self, describe: &mut Describe<'_>) -> Way {
        let common = self
            .chains
            .iter()
            .map(|chain| chain.links.len())
            .min()
            .unwrap_or(0)
            .min(self.links);
        let told = common.min(MOST_LINKS);
        let links = (0..told).map(|place| link(&self.chains, place, describe));
        let longest = self.chains.iter().map(|chain| chain.links.len()).max();
        Way {
            root: self.root,
            links: links.collect(),
            more_links: (longest.unwrap_or(0) - told) as u32,
            shared: self.chains.len() as u32,
        }
    }
}

/// The link at a place that all chains have.
fn link(chains: &[&Chain], place: usize, describe: &mut Describe<'_>) -> Link {
    let mut all = Link {
        kind: 0,
        type_name: None,
        sizes: (u64::MAX, 0),
        lengths: (u32::MAX, 0),
    };
    let mut types = Vec::new();
    for chain in chains {
        let own = &chain.links[place];
        let (size, type_name) = describe(own.last);
        all.kind = own.kind;
        all.sizes = (all.sizes.0.min(size), all.sizes.1.max(size));
        all.lengths = (all.lengths.0.min(own.length), all.lengths.1.max(own.length));
        types.push(type_name);
    }
    types.dedup();
    if let [one] = &mut types[..] {
        all.type_name = one.take();
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::fold;
    use super::*;
    use crate::profile::RootKind;

    fn chain(name: &str, offset: u64, kinds: &[(u32, u32)]) -> (HeldFrom, Chain) {
        let root = HeldFrom {
            kind: RootKind::Global,
            name: Some(name.to_owned()),
            offset: Some(offset),
            ..HeldFrom::default()
        };
        let links = kinds.iter().map(|(kind, length)| fold::Link {
            kind: *kind,
            last: *kind * 10 + *length,
            length: *length,
        });
        let links = links.collect();
        (root, Chain { root: 0, links })
    }

    fn described(chains: &[(HeldFrom, Chain)]) -> Vec<Way> {
        let mut describe = |block: u32| (block as u64, (block < 20).then(|| "Table".to_owned()));
        ways(chains, &mut describe)
    }

    #[test]
    fn chains_of_one_shape_are_one_way() {
        let chains = [
            chain("cache", 8, &[(1, 1), (2, 3)]),
            chain("cache", 16, &[(1, 2), (2, 7)]),
        ];
        let ways = described(&chains);
        assert_eq!(ways.len(), 1);
        let way = &ways[0];
        assert_eq!((way.shared, way.more_links), (2, 0));
        assert_eq!(
            (way.root.name.as_deref(), way.root.offset),
            (Some("cache"), None)
        );
        assert_eq!(way.links[0].type_name.as_deref(), Some("Table"));
        assert_eq!(way.links[1].type_name, None);
        assert_eq!(
            (way.links[1].sizes, way.links[1].lengths),
            ((23, 27), (3, 7))
        );
    }

    /// The trees below a table are of several shapes, but all begin with it.
    #[test]
    fn what_most_have_in_common_is_the_holder() {
        let chains = [
            chain("cache", 0, &[(1, 1), (2, 1)]),
            chain("cache", 0, &[(1, 1), (3, 1), (2, 1)]),
            chain("cache", 0, &[(1, 1), (4, 1), (2, 1)]),
            chain("cache", 0, &[(1, 1), (5, 1), (2, 1)]),
        ];
        let ways = described(&chains);
        assert_eq!(ways.len(), 1);
        assert_eq!(
            (ways[0].shared, ways[0].links.len(), ways[0].more_links),
            (4, 1, 2)
        );
    }

    /// Where nothing is the holder of most, the largest come first.
    #[test]
    fn many_holders() {
        let mut chains = vec![chain("zero", 0, &[(2, 1)])];
        chains.extend((0..4).map(|_| chain("first", 0, &[(1, 1), (2, 1)])));
        chains.extend((0..3).map(|_| chain("second", 0, &[(2, 1)])));
        chains.extend((0..2).map(|_| chain("third", 0, &[(2, 1)])));
        let ways = described(&chains);
        let shares: Vec<_> = ways
            .iter()
            .map(|way| (way.root.name.as_deref(), way.shared))
            .collect();
        assert_eq!(
            shares,
            [(Some("first"), 4), (Some("second"), 3), (Some("third"), 2)]
        );
        assert!(described(&[]).is_empty());
    }

    #[test]
    fn long_ways_are_cut() {
        let kinds: Vec<(u32, u32)> = (0..12).map(|kind| (kind, 1)).collect();
        let ways = described(&[chain("cache", 0, &kinds)]);
        assert_eq!((ways[0].links.len(), ways[0].more_links), (MOST_LINKS, 4));
    }
}
