use super::*;
use proptest::prelude::*;

const COSTS: Costs = Costs {
    passed_ns: 500.0,
    followed_ns: 700.0,
};
const TICK: Duration = Duration::from_millis(100);

/// A machine of programs that hit their probes at given rates, whatever the guard does.
struct Machine {
    rows: Vec<Usage>,
    rates: Vec<f64>,
    now: Duration,
    guard: Guard,
    off: Vec<u32>,
    log: Vec<(Duration, Decision)>,
}

impl Machine {
    fn new(budget: Option<f64>, rates: &[f64]) -> Self {
        let usage = |row: usize| Usage {
            row: row as u32,
            tgid: 1000 + row as u32,
            hits: 0,
            step: 0,
            followed: true,
            alive: true,
        };
        Self {
            rows: (0..rates.len()).map(usage).collect(),
            rates: rates.to_vec(),
            now: Duration::ZERO,
            guard: Guard::new(budget, COSTS, 0),
            off: Vec::new(),
            log: Vec::new(),
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += TICK;
            for (usage, rate) in self.rows.iter_mut().zip(&self.rates) {
                if !self.off.contains(&usage.row) {
                    usage.hits += (rate * TICK.as_secs_f64()) as u64;
                }
            }
            for decision in self.guard.tick(self.now, &self.rows) {
                self.log.push((self.now, decision));
                let Whom::Process { row, .. } = decision.whom else {
                    panic!("no process has ended: {decision:?}");
                };
                match decision.action {
                    Action::Sample(step) => self.rows[row as usize].step = step,
                    Action::Off => self.off.push(row),
                }
            }
        }
    }

    fn actions(&self) -> Vec<Action> {
        self.log
            .iter()
            .map(|(_, decision)| decision.action)
            .collect()
    }
}

/// 150,000 hits a second cost 0.105 CPUs followed and 0.075 passed over: a little sampling is enough.
#[test]
fn a_busy_process_is_sampled() {
    let mut machine = Machine::new(Some(0.1), &[150_000.0, 10.0]);
    machine.run(Duration::from_secs(60));
    assert_eq!(machine.actions(), [Action::Sample(1)]);
    assert_eq!(machine.log[0].1.whom, Whom::Process { row: 0, tgid: 1000 });
    assert!(machine.guard.cost(&machine.rows) <= 0.1);
}

/// What is beyond any budget loses its probes within three looks.
#[test]
fn a_storm_is_ended_at_once() {
    let mut machine = Machine::new(Some(0.1), &[100.0, 15e6]);
    machine.run(Duration::from_millis(300));
    assert_eq!(machine.actions(), [Action::Off]);
    let (at, decision) = machine.log[0];
    assert_eq!(decision.whom, Whom::Process { row: 1, tgid: 1001 });
    assert!(at <= Duration::from_millis(300));
    assert!((decision.hits_per_second - 15e6).abs() < 1e5);
    machine.run(Duration::from_secs(5));
    assert_eq!(machine.log.len(), 1, "it is told once");
}

/// Between the two, sampling comes first, the probes go if that does not do.
#[test]
fn sampling_comes_first() {
    let mut machine = Machine::new(Some(0.1), &[400_000.0]);
    machine.run(Duration::from_secs(10));
    let actions = machine.actions();
    assert!(
        matches!(actions[..], [Action::Sample(_), Action::Off]),
        "{actions:?}"
    );
}

/// Of several that are too dear together, each is sampled before any loses its probes.
#[test]
fn all_are_sampled_before_any_is_given_up() {
    let mut machine = Machine::new(Some(0.1), &[60_000.0, 55_000.0, 50_000.0]);
    machine.run(Duration::from_secs(20));
    let actions = machine.actions();
    assert!(
        actions
            .iter()
            .all(|action| matches!(action, Action::Sample(_))),
        "{actions:?}"
    );
    assert!(machine.guard.cost(&machine.rows) <= 0.1);
}

/// Processes that are not followed pay for their hits all the same.
#[test]
fn a_bystander_can_only_be_left_alone() {
    let mut machine = Machine::new(Some(0.1), &[300_000.0]);
    machine.rows[0].followed = false;
    machine.run(Duration::from_secs(5));
    assert_eq!(machine.actions(), [Action::Off]);
}

/// When the load is gone, samples become denser, one step in half a minute.
#[test]
fn calm_makes_samples_denser() {
    let mut machine = Machine::new(Some(0.1), &[150_000.0]);
    machine.run(Duration::from_secs(5));
    machine.rates[0] = 1000.0;
    machine.run(Duration::from_secs(40));
    assert_eq!(machine.actions(), [Action::Sample(1), Action::Sample(0)]);
}

#[test]
fn without_a_budget_nothing_is_done() {
    let mut machine = Machine::new(None, &[15e6, 15e6]);
    machine.run(Duration::from_secs(5));
    assert!(machine.log.is_empty());
    assert!(machine.guard.cost(&machine.rows) > 10.0);
}

/// A row that another process has got by now starts from nothing.
#[test]
fn rows_are_used_again() {
    let mut machine = Machine::new(Some(0.1), &[15e6]);
    machine.run(Duration::from_secs(1));
    assert_eq!(machine.off, [0]);
    machine.off.clear();
    machine.rates[0] = 10.0;
    machine.rows[0] = Usage {
        tgid: 7,
        hits: 0,
        ..machine.rows[0]
    };
    machine.run(Duration::from_secs(3));
    assert_eq!(machine.log.len(), 1);
    assert!(machine.guard.cost(&machine.rows) < 0.01);
}

/// One process after the other of a program, each of which lives for `life` ticks and hits its probes at `rate` while it has
/// any; the last action that held at the begin of each, and what was decided.
fn swarm(budget: f64, rate: f64, life: u32, ticks: u32) -> (Vec<Option<Action>>, Vec<Decision>) {
    let mut guard = Guard::new(Some(budget), COSTS, 0);
    let (mut begun, mut decisions) = (Vec::new(), Vec::new());
    let mut usage = Usage {
        row: 0,
        tgid: 0,
        hits: 0,
        step: 0,
        followed: true,
        alive: true,
    };
    let mut off = false;
    for tick in 1..=ticks {
        let now = TICK * tick;
        if tick % life == 1 % life {
            let tgid = usage.tgid + 1;
            let held = guard.begin(0, tgid, Some(7), now);
            off = held == Some(Action::Off);
            let step = match held {
                Some(Action::Sample(step)) => step,
                _ => 0,
            };
            usage = Usage {
                tgid,
                hits: 0,
                step,
                ..usage
            };
            begun.push(held);
        }
        if !off {
            usage.hits += (rate * TICK.as_secs_f64()) as u64;
        }
        for decision in guard.tick(now, &[usage]) {
            match decision.action {
                Action::Sample(step) => usage.step = step,
                Action::Off => off = true,
            }
            decisions.push(decision);
        }
    }
    (begun, decisions)
}

/// Processes that live for a third of a second each cost as much as one that goes on.
#[test]
fn short_lived_ones_are_judged_together() {
    let (begun, decisions) = swarm(0.1, 150_000.0, 3, 200);
    assert_eq!(
        decisions
            .first()
            .map(|decision| (decision.whom, decision.action)),
        Some((Whom::Program(7), Action::Sample(1)))
    );
    assert!(
        begun[12..40]
            .iter()
            .all(|held| *held == Some(Action::Sample(1))),
        "{begun:?}"
    );
}

/// What is beyond sampling loses its probes, from its first call on, and is looked at again more and more seldom.
#[test]
fn a_decision_holds_for_the_next_ones() {
    let (begun, decisions) = swarm(0.1, 400_000.0, 10, 3000);
    let off = |decision: &&Decision| decision.action == Action::Off;
    let times = decisions.iter().filter(off).count();
    assert!((2..=8).contains(&times), "{times} times: {decisions:?}");
    let held = begun
        .iter()
        .filter(|held| **held == Some(Action::Off))
        .count();
    assert!(held > begun.len() * 8 / 10, "{held} of {}", begun.len());
}

/// A process that lived for long and ends leaves nothing that its program is judged by.
#[test]
fn the_end_of_a_busy_process_is_no_swarm() {
    let mut guard = Guard::new(Some(0.1), COSTS, 0);
    let mut usage = Usage {
        row: 0,
        tgid: 1,
        hits: 0,
        step: 0,
        followed: true,
        alive: true,
    };
    guard.begin(0, 1, Some(7), Duration::ZERO);
    for tick in 1..=60 {
        usage.alive = tick <= 40;
        usage.hits += if usage.alive { 12_000 } else { 0 };
        assert_eq!(guard.tick(TICK * tick, &[usage]), []);
    }
    assert!(guard.cost(&[usage]) < 0.001);
}

proptest! {
    /// Whatever the load is, after some time what is left on is within the budget, and nobody is judged twice.
    #[test]
    fn the_budget_is_kept(rates in prop::collection::vec(0.0f64..2e6, 1..12), budget in 0.01f64..1.0) {
        let mut machine = Machine::new(Some(budget), &rates);
        machine.run(Duration::from_secs(40));
        let left: f64 = machine.rows.iter().filter(|usage| !machine.off.contains(&usage.row))
            .map(|usage| machine.guard.cost_of(usage)).sum();
        prop_assert!(left <= budget * 1.01, "{left} of {budget}");
        let mut off = machine.off.clone();
        off.dedup();
        prop_assert_eq!(off.len(), machine.off.len());
    }
}
