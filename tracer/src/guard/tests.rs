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
                match decision.action {
                    Action::Sample(step) => self.rows[decision.row as usize].step = step,
                    Action::Off => self.off.push(decision.row),
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
    assert_eq!(machine.log[0].1.tgid, 1000);
    assert!(machine.guard.cost(&machine.rows) <= 0.1);
}

/// What is beyond any budget loses its probes within three looks.
#[test]
fn a_storm_is_ended_at_once() {
    let mut machine = Machine::new(Some(0.1), &[100.0, 15e6]);
    machine.run(Duration::from_millis(300));
    assert_eq!(machine.actions(), [Action::Off]);
    let (at, decision) = machine.log[0];
    assert_eq!(decision.tgid, 1001);
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
