//! The heap's part of a profile that reachability adds: classes of blocks, their holders, how sure that is.

use tracer_common::key::Owner;

use super::Heap;
use super::figures::Row;
use crate::engine::{Core, Snapshot, Work};
use crate::profile::{CutReason, Holder, HolderLink, Measure, Reachability, Values};
use crate::reach::holders::Way;
use crate::reach::outcome::Class;

impl Heap {
    /// The look at what holds the blocks, if it is due.
    pub(super) fn judge_blocks(&mut self, core: &Core, last: bool) -> Option<Work> {
        let every_block = self.options.sample_bytes.is_none()
            && self.options.min_size == 0
            && self.options.max_size == u64::MAX;
        let unfit: Vec<(Owner, String)> = core
            .members
            .iter()
            .filter(|_| self.absent.is_none())
            .filter_map(|member| {
                let owner = member.owner;
                let why = if !every_block || self.coarsest_interval(core, owner).is_some() {
                    "only a part of its blocks is followed, so what holds the others is not known; leave out \
                     --sample-bytes, --min-size and --max-size"
                } else if self.options.combined {
                    "with --combined single blocks are not looked at"
                } else if self.off.contains_key(&owner) {
                    "its probes were removed"
                } else {
                    return None;
                };
                Some((owner, why.to_owned()))
            })
            .collect();
        let losses = core.tracer.losses().unwrap_or_default();
        let lost_none = losses
            .iter()
            .all(|(loss, count)| *count == 0 || !loss.affects_totals());
        let is_whole = self.from_start && lost_none;
        self.reaching.work(core, last, is_whole, |owner| {
            let own = unfit.iter().find(|(other, _)| *other == owner);
            own.map(|(_, why)| why.clone())
        })
    }

    /// Blocks of a row that were called lost and have been released.
    fn freed_after_lost(&self, row: &Row) -> u64 {
        let live = row.sums.as_ref().map_or(0, |sums| sums.lost);
        self.reaching.freed(row.owner, row.rows(), live)
    }

    /// The figures of all classes of a row, if its program was judged.
    pub(super) fn add_classes(&self, row: &Row, values: &mut Values) {
        if self.reaching.of(row.owner).is_none() {
            return;
        }
        let classes = row.sums.as_ref().and_then(|sums| sums.classes.as_ref());
        for class in Class::ALL {
            let (size, count) = classes.map_or((0, 0), |classes| classes.of(class));
            class.set(values, size, count);
        }
        values.set(
            Measure::HeapFreedAfterLostBlocks,
            self.freed_after_lost(row),
        );
    }

    /// What holds the blocks of a row.
    pub(super) fn holders(&self, core: &mut Core, out: &mut Snapshot, row: &Row) -> Vec<Holder> {
        let judged = self.reaching.of(row.owner);
        let Some((sampled, ways)) = judged.and_then(|judged| judged.holders(row.row)) else {
            return Vec::new();
        };
        let holders = ways.iter().map(|way| Holder {
            sampled: *sampled,
            shared: way.shared,
            root: way.root.clone(),
            links: links(core, out, row.owner, way),
            more_links: way.more_links,
            text: String::new(),
        });
        holders.collect()
    }

    /// How sure what is said of each program is.
    pub(super) fn reachability(&self, core: &Core, out: &Snapshot) -> Vec<Reachability> {
        let members = core.members.iter();
        let sections = members.filter_map(|member| {
            let owner = member.owner;
            let subject = out.subject(owner)?;
            let own = self.figures.rows.iter().filter(|row| row.owner == owner);
            let (mut freed, mut young) = (0, 0);
            for row in own {
                freed += self.freed_after_lost(row);
                let classes = row.sums.as_ref().and_then(|sums| sums.classes.as_ref());
                young += classes.map_or(0, |classes| classes.of(Class::NotJudged).1);
            }
            self.reaching.section(owner, subject, freed, young)
        });
        sections.collect()
    }
}

fn links(core: &mut Core, out: &mut Snapshot, owner: Owner, way: &Way) -> Vec<HolderLink> {
    let links = way.links.iter().map(|link| HolderLink {
        stack: Some(core.stack(out, link.kind, owner, CutReason::NotKept)),
        function: None,
        type_name: link.type_name.clone(),
        size_min: link.sizes.0,
        size_max: link.sizes.1,
        length_min: link.lengths.0,
        length_max: link.lengths.1,
    });
    links.collect()
}
