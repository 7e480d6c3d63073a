//! The lost blocks: which of them nothing points to, and below which of these each of the others lies.

use super::graph::{Edges, block};

/// The lost blocks of a process.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Each by ascending number, and the top block of its structure: itself, where nothing lost points to it. Of blocks
    /// that point to one another in a circle to which nothing else points, the first one is the top.
    pub tops: Vec<(u32, u32)>,
}

/// Not looked at yet.
const NONE: usize = usize::MAX;

impl Lost {
    /// Finds the tops of lost blocks, which are given by ascending number.
    pub fn new(edges: &Edges, lost: Vec<u32>) -> Self {
        let graph = Graph { edges, lost: &lost };
        let circles = Circles::of(&graph);
        let mut is_held = vec![false; lost.len()];
        for place in 0..lost.len() {
            let own = circles.of[place];
            for target in graph.targets(place) {
                is_held[circles.of[target]] |= circles.of[target] != own;
            }
        }
        // What each lies below. The first block of a circle stands for it.
        let mut below = vec![NONE; lost.len()];
        let mut stack = Vec::new();
        for top in 0..lost.len() {
            if is_held[circles.of[top]] || below[top] != NONE {
                continue;
            }
            below[top] = top;
            stack.push(top);
            while let Some(place) = stack.pop() {
                for target in graph.targets(place) {
                    if below[target] == NONE {
                        below[target] = top;
                        stack.push(target);
                    }
                }
            }
        }
        let tops = lost
            .iter()
            .zip(below)
            .map(|(block, top)| (*block, lost[top]));
        Self {
            tops: tops.collect(),
        }
    }
}

/// The lost blocks by their places in the list, and the pointers among them.
struct Graph<'a> {
    edges: &'a Edges,
    lost: &'a [u32],
}

impl Graph<'_> {
    fn targets(&self, place: usize) -> impl Iterator<Item = usize> {
        let targets = self.edges.of(self.lost[place]);
        targets.filter_map(|target| self.lost.binary_search(&block(target)).ok())
    }
}

/// The strongly connected components, by Tarjan's algorithm without recursion.
struct Circles {
    /// The component of each block.
    of: Vec<usize>,
}

/// A block that is being looked at, and those of its targets that are left.
struct Visit<I> {
    place: usize,
    targets: I,
}

impl Circles {
    fn of(graph: &Graph<'_>) -> Self {
        let len = graph.lost.len();
        let (mut order, mut low) = (vec![NONE; len], vec![NONE; len]);
        let mut of = vec![NONE; len];
        let (mut next, mut count) = (0, 0);
        // Blocks whose component is not known yet.
        let mut open = Vec::new();
        let mut visits: Vec<Visit<_>> = Vec::new();
        for root in 0..len {
            if order[root] != NONE {
                continue;
            }
            let mut entered = Some(root);
            loop {
                if let Some(place) = entered.take() {
                    (order[place], low[place]) = (next, next);
                    next += 1;
                    open.push(place);
                    visits.push(Visit {
                        place,
                        targets: graph.targets(place),
                    });
                }
                let Some(visit) = visits.last_mut() else {
                    break;
                };
                let place = visit.place;
                match visit.targets.next() {
                    Some(target) if order[target] == NONE => entered = Some(target),
                    Some(target) if of[target] == NONE => {
                        low[place] = low[place].min(order[target])
                    }
                    Some(_) => {}
                    None => {
                        visits.pop();
                        if let Some(above) = visits.last() {
                            low[above.place] = low[above.place].min(low[place]);
                        }
                        if low[place] == order[place] {
                            while let Some(member) = open.pop() {
                                of[member] = count;
                                if member == place {
                                    break;
                                }
                            }
                            count += 1;
                        }
                    }
                }
            }
        }
        Self { of }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::reach::graph::tests::{BLOCKS, edges, pointers, reached};

    proptest! {
        /// A top is pointed to by no lost block outside of its circle, every other block is reached from its top.
        #[test]
        fn tops_of_what_is_lost(pointers in pointers(), lost in prop::collection::btree_set(0..BLOCKS, 0..BLOCKS as usize)) {
            let edges = edges(BLOCKS, &pointers);
            let among: BTreeSet<(u32, u32)> =
                pointers.iter().copied().filter(|(source, target)| lost.contains(source) && lost.contains(&block(*target))).collect();
            let found = Lost::new(&edges, lost.iter().copied().collect());
            prop_assert_eq!(found.tops.iter().map(|(block, _)| *block).collect::<BTreeSet<_>>(), lost.clone());
            for (one, top) in &found.tops {
                prop_assert!(reached(&among, BTreeSet::from([*top])).contains(one));
                prop_assert!(found.tops.contains(&(*top, *top)));
                if one == top {
                    let below = reached(&among, BTreeSet::from([*top]));
                    let above = lost.iter().filter(|other| reached(&among, BTreeSet::from([**other])).contains(top));
                    for other in above {
                        prop_assert!(below.contains(other) && top <= other, "{} is above {}", other, top);
                    }
                }
            }
        }
    }
}
