//! The order of rows: what certainly grows, what is large, what reaches its limit. Pure.

use std::cmp::Ordering;
use std::time::Duration;

use super::View;
use super::figures::Figures;
use crate::profile::machine::{Cgroup, Order};
use crate::profile::series::Series;

/// Something that may get a row.
pub struct Candidate<'a, Id> {
    /// Which one.
    pub id: Id,
    name: &'a str,
    /// Its figures now.
    pub figures: Figures,
    /// Slope of the figure in question that is certain, in units per second; not below zero.
    pub growth: f64,
    size: u64,
}

/// Candidates in the order asked for; what is equal by name and number, so that nothing jumps about.
pub fn ranked<'a, Id: Ord + Copy>(
    view: View,
    all: impl Iterator<Item = (Id, &'a str, &'a Series<Figures>)>,
) -> Vec<Candidate<'a, Id>> {
    let measure = view.of.measure();
    let candidate = |(id, name, series): (Id, &'a str, &'a Series<Figures>)| {
        let fit = match view.order {
            Order::Growth => series.fit(|figures| figures.get(measure)),
            Order::Size => None,
        };
        let figures = series.last();
        Candidate {
            id,
            name,
            figures,
            growth: fit.map_or(0.0, |fit| fit.certain().max(0.0)),
            size: figures.get(measure).unwrap_or(0),
        }
    };
    let mut ranked: Vec<_> = all.map(candidate).collect();
    ranked.sort_by(|one, other| {
        let growth = other.growth.total_cmp(&one.growth);
        let size = || other.size.cmp(&one.size);
        growth
            .then_with(size)
            .then_with(|| one.name.cmp(other.name))
            .then_with(|| one.id.cmp(&other.id))
    });
    ranked
}

/// Figures of several together.
pub fn sum<Id>(candidates: &[Candidate<'_, Id>]) -> Figures {
    let figures = candidates.iter().map(|one| one.figures);
    figures.fold(Figures::default(), |sum, one| sum.plus(&one))
}

/// What reaches its limit first, then what is nearest to it, then what grows, then what is largest.
pub fn most_pressing(one: &Cgroup, other: &Cgroup) -> Ordering {
    let left = |row: &Cgroup| row.full_in.unwrap_or(Duration::MAX);
    let growth = |row: &Cgroup| row.growth.map_or(0.0, |growth| growth.certain.max(0.0));
    left(one)
        .cmp(&left(other))
        .then_with(|| {
            let full = |row: &Cgroup| row.fullness().unwrap_or(-1.0);
            full(other).total_cmp(&full(one))
        })
        .then_with(|| growth(other).total_cmp(&growth(one)))
        .then_with(|| other.current_bytes.cmp(&one.current_bytes))
        .then_with(|| one.path.cmp(&other.path))
}
