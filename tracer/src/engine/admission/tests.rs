use super::*;
use proptest::prelude::*;

const TICK: Duration = Duration::from_millis(20);

fn pricing() -> Pricing {
    Pricing::new(Duration::from_nanos(900), 0)
}

/// A process that makes so many probed calls a second, as far as one CPU allows with the probes in it.
#[derive(Clone, Copy, Debug)]
struct Program {
    pid: u32,
    wanted: f64,
    age: Duration,
    resident: u64,
    probed: bool,
    hits: f64,
    step: u32,
}

impl Program {
    fn new(pid: u32, wanted: f64) -> Self {
        Self {
            pid,
            wanted,
            age: Duration::from_secs(60),
            resident: 1 << 20,
            probed: false,
            hits: 0.0,
            step: 0,
        }
    }

    /// Hits per second under probes, and what they cost in CPUs.
    fn load(&self, pricing: Pricing) -> (f64, f64) {
        if !self.probed {
            return (0.0, 0.0);
        }
        let most = 1.0 / pricing.cost(1.0, self.step);
        let rate = self.wanted.min(most);
        (rate, pricing.cost(rate, self.step))
    }

    fn sight(&self) -> Sight {
        Sight {
            pid: self.pid,
            start: 1,
            age: self.age,
            // A call takes 30 ns without probes, and who calls does other things, too.
            cpu: (self.wanted * 30e-9).min(1.0) + if self.wanted > 100.0 { 0.002 } else { 0.0 },
            resident: self.resident,
        }
    }
}

/// A machine on which admission works.
struct Machine {
    programs: Vec<Program>,
    now: Duration,
    admission: Admission,
    log: Vec<Decision>,
    /// The order in which processes got their probes.
    order: Vec<u32>,
    /// What all probes cost at each tick, in CPUs.
    costs: Vec<f64>,
}

impl Machine {
    fn new(budget: Option<f64>, programs: Vec<Program>) -> Self {
        Self {
            programs,
            now: Duration::ZERO,
            admission: Admission::new(budget, pricing(), false, 1_000),
            log: Vec::new(),
            order: Vec::new(),
            costs: Vec::new(),
        }
    }

    fn of_rates(budget: Option<f64>, rates: &[f64]) -> Self {
        let programs = (1..).zip(rates).map(|(pid, rate)| Program::new(pid, *rate));
        Self::new(budget, programs.collect())
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            if self.now.as_millis().is_multiple_of(1_000) {
                self.see();
            }
            self.now += TICK;
            let mut cost = 0.0;
            let probed = self.programs.iter().filter(|program| program.probed);
            let pricing = pricing().beside(probed.count().saturating_sub(1));
            for program in &mut self.programs {
                program.age += TICK;
                let (rate, spent) = program.load(pricing);
                program.hits += rate * TICK.as_secs_f64();
                cost += spent;
            }
            self.costs.push(cost);
            let usage: Vec<Usage> = self
                .programs
                .iter()
                .map(|program| Usage {
                    pid: program.pid,
                    // As threads flush what they have gathered.
                    hits: program.hits as u64 / 256 * 256,
                    step: program.step,
                })
                .collect();
            let decisions = self.admission.tick(self.now, &usage);
            for decision in &decisions {
                let program = self.program(decision.pid);
                match decision.action {
                    Action::Sample(step) => program.step = step,
                    Action::Leave => program.probed = false,
                    Action::Wait => {
                        program.probed = false;
                        self.admission.displace(decision.pid);
                    }
                }
            }
            self.log.extend(decisions);
            // As many as are placed within a tick.
            for _ in 0..4 {
                let Some(Next { pid, in_place_of }) = self.admission.next(self.now) else {
                    break;
                };
                if let Some(other) = in_place_of {
                    self.program(other).probed = false;
                    self.admission.displace(other);
                }
                let program = self.program(pid);
                program.probed = true;
                program.step = 0;
                let hits = program.hits as u64;
                self.admission.probed(pid, self.now, hits);
                self.order.push(pid);
            }
        }
    }

    fn see(&mut self) {
        let sights: Vec<Sight> = self.programs.iter().map(Program::sight).collect();
        self.admission.see(self.now, &sights);
    }

    fn program(&mut self, pid: u32) -> &mut Program {
        let found = self.programs.iter_mut().find(|program| program.pid == pid);
        found.expect("a program of this machine")
    }

    /// Mean cost over the last so many ticks.
    fn recent_cost(&self, ticks: usize) -> f64 {
        let last = &self.costs[self.costs.len().saturating_sub(ticks)..];
        last.iter().sum::<f64>() / last.len() as f64
    }
}

/// Five hundred idle, twenty moderate and three furious processes: the moderate ones are traced within seconds, the
/// furious ones are left, and the budget holds after two seconds.
#[test]
fn a_crowd_is_admitted_within_the_budget() {
    let budget = 0.1;
    let mut rates = vec![5.0; 500];
    rates.extend([1_000.0; 20]);
    rates.extend([30e6; 3]);
    let mut machine = Machine::of_rates(Some(budget), &rates);
    machine.admission.most = 32;
    machine.run(Duration::from_secs(10));
    let moderate = &machine.programs[500..520];
    assert!(moderate.iter().all(|program| program.probed));
    let counts = machine.admission.counts(machine.now);
    assert_eq!(
        (counts.traced, counts.left, counts.waiting),
        (32, 3, 488),
        "{counts:?}"
    );
    let late = &machine.costs[100..];
    let worst: f64 = late
        .chunks(50)
        .map(|second| second.iter().sum::<f64>() / second.len() as f64)
        .fold(0.0, f64::max);
    assert!(worst <= budget * 1.2, "{worst}");
    // A furious process was on trial for less than 100 ms.
    let furious = machine
        .programs
        .iter()
        .filter(|program| program.wanted > 1e6);
    for program in furious {
        let most = 1.0 / pricing().cost(1.0, 0);
        assert!(program.hits < most * 0.1, "{} hits", program.hits);
    }
}

/// Where one of two processes must be sampled, it is the one that does not grow.
#[test]
fn what_grows_is_sampled_last() {
    let mut machine = Machine::of_rates(Some(0.1), &[1_000.0, 1_000.0]);
    machine.run(Duration::from_secs(2));
    machine.program(1).resident += 10 << 20;
    machine.run(Duration::from_secs(1));
    for pid in [1, 2] {
        machine.program(pid).wanted = 36_000.0;
    }
    machine.run(Duration::from_secs(4));
    let steps = [1, 2].map(|pid| machine.program(pid).step);
    assert!(
        steps[0] == 0 && steps[1] > 0,
        "{steps:?}: {:?}",
        machine.log
    );
}

/// One among many that are sampled, as all together cost too much, is followed in full once it grows.
#[test]
fn a_sampled_process_that_grows_is_followed_in_full() {
    let mut machine = Machine::of_rates(Some(0.1), &[3_000.0; 16]);
    machine.run(Duration::from_secs(5));
    let sampled = |machine: &Machine| {
        let mut probed = machine.programs.iter().filter(|program| program.probed);
        probed
            .find(|program| program.step > 0)
            .map(|program| program.pid)
    };
    let pid = sampled(&machine).expect("a sampled process");
    for _ in 0..20 {
        machine.program(pid).resident += 1 << 20;
        machine.run(Duration::from_secs(1));
    }
    let program = *machine.program(pid);
    assert!(
        program.probed && program.step == 0,
        "{program:?}: {:?}",
        machine.log
    );
    let cost = machine.recent_cost(200);
    assert!(cost <= 0.11, "{cost}");
}

/// Where all grow and together cost too much, they are sampled; none loses its probes.
#[test]
fn where_all_grow_they_are_sampled() {
    let mut machine = Machine::of_rates(Some(0.1), &[2_000.0; 12]);
    machine.run(Duration::from_secs(4));
    for program in &mut machine.programs {
        program.resident += 10 << 20;
        program.wanted = 3_600.0;
    }
    machine.run(Duration::from_secs(5));
    let programs = &machine.programs;
    assert!(
        programs.iter().all(|program| program.probed),
        "{:?}",
        machine.log
    );
    assert!(programs.iter().any(|program| program.step > 0));
}

/// What grows and what is large comes first.
#[test]
fn the_neediest_come_first() {
    let mut programs: Vec<Program> = (1..=4).map(|pid| Program::new(pid, 1.0)).collect();
    programs[1].resident = 1 << 30;
    let mut machine = Machine::new(Some(0.1), programs);
    machine.see();
    machine.program(3).resident += 1 << 20;
    machine.see();
    machine.run(Duration::from_secs(1));
    assert_eq!(machine.order, [3, 2, 1, 4]);
}

/// The young wait until they are a second old; who ends before that is counted.
#[test]
fn the_young_wait() {
    let mut young = Program::new(1, 10.0);
    young.age = Duration::from_millis(100);
    let mut shorter = Program::new(2, 10.0);
    shorter.age = Duration::from_millis(100);
    let mut machine = Machine::new(Some(0.1), vec![young, shorter]);
    machine.run(Duration::from_millis(800));
    assert_eq!(machine.order, [0_u32; 0]);
    assert_eq!(machine.admission.counts(machine.now).young, 2);
    machine.programs.pop();
    machine.see();
    machine.run(Duration::from_millis(1_400));
    assert_eq!(machine.order, [1]);
    assert_eq!(machine.admission.counts(machine.now).ended_before, 1);
}

/// A busy process that fits when it is sampled is sampled, and its blocks are followed in full again when it has become
/// quiet.
#[test]
fn sampling_follows_the_load() {
    let mut machine = Machine::of_rates(Some(0.1), &[75_000.0]);
    machine.run(Duration::from_secs(10));
    let [
        Decision {
            action: Action::Sample(step),
            ..
        },
    ] = machine.log[..]
    else {
        panic!("{:?}", machine.log);
    };
    assert!(step > 0 && machine.recent_cost(100) <= 0.1);
    machine.program(1).wanted = 100.0;
    machine.run(Duration::from_secs(240));
    let step = machine.program(1).step;
    assert_eq!(step, 0, "{:?}", machine.log);
}

/// One that becomes furious later loses its probes within 100 ms, and the others keep theirs.
#[test]
fn a_sudden_storm_is_left() {
    let mut machine = Machine::of_rates(Some(0.1), &[1_000.0, 1_000.0, 1_000.0]);
    machine.run(Duration::from_secs(3));
    assert_eq!(machine.log, []);
    machine.program(2).wanted = 30e6;
    machine.run(Duration::from_millis(120));
    let probed: Vec<bool> = machine
        .programs
        .iter()
        .map(|program| program.probed)
        .collect();
    assert_eq!(probed, [true, false, true], "{:?}", machine.log);
}

/// One that was left is tried again, ever more rarely; at once when it has become quiet.
#[test]
fn who_was_left_comes_back() {
    let mut machine = Machine::of_rates(Some(0.1), &[30e6]);
    machine.run(Duration::from_secs(100));
    // At 0, 10, 30 and 70 seconds.
    assert_eq!(machine.order, [1; 4], "{:?}", machine.log);
    machine.program(1).wanted = 100.0;
    machine.run(Duration::from_secs(6));
    assert!(machine.program(1).probed);
}

/// Without a budget everybody is traced at once, and nobody is left.
#[test]
fn no_budget_is_no_limit() {
    let mut machine = Machine::of_rates(None, &[30e6, 30e6, 1.0]);
    machine.run(Duration::from_secs(3));
    assert!(machine.programs.iter().all(|program| program.probed));
    assert_eq!(machine.log, []);
}

fn next(admission: &Admission, now: Duration) -> Option<u32> {
    admission.next(now).map(|next| next.pid)
}

/// No more processes are probed than was said; one that grows takes the place of one that does nothing.
#[test]
fn there_is_room_for_so_many() {
    let mut machine = Machine::of_rates(Some(0.1), &[0.0, 0.0, 30_000.0, 0.0]);
    machine.admission.most = 2;
    machine.run(Duration::from_secs(1));
    assert_eq!(machine.order, [3, 1]);
    machine.run(Duration::from_secs(10));
    assert_eq!(machine.order, [3, 1]);
    machine.program(4).resident += 1 << 20;
    machine.run(Duration::from_secs(2));
    assert_eq!(machine.order, [3, 1, 4]);
    let probed: Vec<u32> = machine
        .programs
        .iter()
        .filter(|program| program.probed)
        .map(|program| program.pid)
        .collect();
    assert_eq!(probed, [3, 4]);
}

/// Another process under the same PID begins anew.
#[test]
fn a_pid_that_comes_again_is_another_process() {
    let mut admission = Admission::new(Some(0.1), pricing(), true, 1_000);
    let sight = |start| Sight {
        start,
        ..Program::new(7, 0.0).sight()
    };
    admission.see(Duration::ZERO, &[sight(1)]);
    assert_eq!(next(&admission, Duration::ZERO), Some(7));
    admission.probed(7, Duration::ZERO, 0);
    assert_eq!(admission.next(Duration::ZERO), None);
    assert_eq!(admission.see(TICK, &[sight(2)]), [7]);
    assert_eq!(next(&admission, TICK), Some(7));
}

/// One that must not be probed is not tried, until that is over.
#[test]
fn refusals_hold_until_they_are_reconsidered() {
    let mut admission = Admission::new(Some(0.1), pricing(), true, 1_000);
    let sights = [Program::new(7, 0.0).sight()];
    admission.see(Duration::ZERO, &sights);
    admission.refuse(7);
    admission.see(TICK, &sights);
    assert_eq!(admission.next(TICK), None);
    admission.reconsider(7);
    assert_eq!(next(&admission, TICK), Some(7));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever the loads, the budget holds within a third on average once two seconds have passed.
    #[test]
    fn the_budget_holds(rates in prop::collection::vec(0.0..2e6_f64, 1..40), budget in 0.02..0.5_f64) {
        let mut machine = Machine::of_rates(Some(budget), &rates);
        machine.run(Duration::from_secs(8));
        let cost = machine.recent_cost(300);
        prop_assert!(cost <= budget * 1.3, "{cost} of {budget}");
    }
}
