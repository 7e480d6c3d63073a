//! `memlens agent`: its arguments and settings.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum, ValueHint};

use super::error::ConfigError;
use super::parsers::{
    output_file, parse_cgroup, parse_cpu_budget, parse_exclude, parse_interval, parse_listen,
    parse_log, parse_rate, parse_rows, parse_sample_bytes, parse_stall, parse_url, parse_user,
    whole_number,
};
use super::shared::{MAX_MAX_LIVE, Walk};
use super::values::parse_size;
use crate::process::scope::{Exclude, Scope, User};

const EXAMPLES: &str = "\
Examples:
  memlens agent                              watch, and serve on 127.0.0.1:9847 and on /run/memlens/agent.sock
  memlens agent --config /etc/memlens/agent.toml
  memlens agent --config agent.toml --check  is the file right? nothing is started
  memlens agent --once --state-dir /var/lib/memlens
                                             watch for a minute, write reports of what grows, end: for cron
  memlens agent --name nginx --trace named   heap traces of nginx and of nothing else
  curl -s http://127.0.0.1:9847/metrics      for Prometheus; --unix-socket for the other endpoint
  go tool pprof 'http://127.0.0.1:9847/debug/pprof/heap?pid=4242'
Each option can stand in FILE under its own name: cpu-budget = 0.5, name = [\"nginx\", \"redis-server\"].
SIGHUP reads FILE again, SIGTERM ends the agent. Stacks are secrets: another address than those of this
machine needs --token-file. docs/fleet.md has the metrics, the alerts and the arithmetic.";

/// Which heaps are traced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TraceWhat {
    /// What certainly grows, and what --name names
    #[default]
    Growing,
    /// What --name names
    Named,
    /// Every process, as far as the budget goes
    All,
    /// Nothing: the machine is watched without BPF
    None,
}

/// On what a report is written to the state directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub enum ReportOn {
    /// A process is killed for lack of memory
    Oom,
    /// A traced heap is found to leak
    Leak,
    /// A process certainly grows by more than --report-growth
    Growth,
    /// A cgroup of a traced process reaches memory.high or memory.max
    Limit,
    /// Tasks wait for memory for longer than --stall
    Stall,
}

/// Watch this machine for good, and serve its memory to Prometheus, Grafana, Parca, Pyroscope and pprof.
///
/// All processes and cgroups are watched without probes. Those that certainly grow, and those that are named, have
/// their heaps traced, within --cpu-budget and --memory. What is known is served by HTTP and, where something happens,
/// written to --state-dir. Needs root, or the capabilities that dist/memlens-agent.service names.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
#[command(mut_arg("unwind_memory", |arg| arg.default_value("64MiB")))]
pub struct AgentArgs {
    #[command(flatten)]
    rest: AgentConfig,
}

/// Settings of `memlens agent`.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct AgentConfig {
    /// Read settings from FILE; those of the command line come before them.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// Only say whether the settings are right.
    #[arg(long)]
    pub check: bool,
    /// Watch for --interval, four of them, write reports of what --report-on names, and end.
    #[arg(long)]
    pub once: bool,
    /// What is watched.
    #[command(flatten)]
    pub watch: WatchConfig,
    /// What it may cost.
    #[command(flatten)]
    pub cost: CostConfig,
    /// How it is served.
    #[command(flatten)]
    pub serve: ServeConfig,
    /// What is written.
    #[command(flatten)]
    pub write: WriteConfig,
    /// How stacks are walked.
    #[command(flatten)]
    pub walk: Walk,
    /// What standard error tells: error, warn, info, debug, trace; also by part, as in warn,memlens::agent=debug.
    ///
    /// The environment variable MEMLENS_LOG has the same form, and comes after this. -v is debug, -vv trace.
    #[arg(long, value_name = "FILTER", value_parser = parse_log, help_heading = "Output")]
    pub log: Option<String>,
}

/// What is watched and traced.
#[derive(Clone, Debug, PartialEq, Args)]
#[command(next_help_heading = "Target")]
pub struct WatchConfig {
    /// Which heaps are traced.
    #[arg(long, value_enum, value_name = "WHAT", default_value_t)]
    pub trace: TraceWhat,
    /// Always trace the processes of this name; may be repeated.
    #[arg(short = 'n', long = "name", value_name = "NAME")]
    pub names: Vec<String>,
    /// Trace a process from so much certain growth a minute on: the lower end of its 95 % interval.
    #[arg(long, value_name = "BYTES", value_parser = parse_rate, default_value = "64KiB")]
    pub min_growth: u64,
    /// Trace only processes of this cgroup and those below it.
    #[arg(long, value_name = "PATH", value_parser = parse_cgroup)]
    pub cgroup: Option<String>,
    /// Trace only processes of this user, by name or number.
    #[arg(long, value_name = "USER", value_parser = parse_user)]
    pub user: Option<User>,
    /// Leave out a process, by name or PID, or a cgroup, by a path with a slash; may be repeated.
    #[arg(long, value_name = "NAME|PID|CGROUP", value_parser = parse_exclude)]
    pub exclude: Vec<Exclude>,
    /// Time between two looks at the heaps, and between two reports to --otlp.
    #[arg(long, value_name = "TIME", value_parser = parse_interval, default_value = "15s")]
    pub interval: Duration,
    /// Compute growth over the last TIME.
    #[arg(long, value_name = "TIME", value_parser = parse_interval, default_value = "10m")]
    pub window: Duration,
}

/// What the agent may cost.
#[derive(Clone, Debug, PartialEq, Args)]
#[command(next_help_heading = "Cost")]
pub struct CostConfig {
    /// Most that the probes may cost, in percent of the machine's CPUs; off sets no limit.
    // `None` is no limit. The type is written in full because clap takes a bare `Option` for one without a default.
    #[arg(long, value_name = "PERCENT", value_parser = parse_cpu_budget, default_value = "1")]
    pub cpu_budget: std::option::Option<f64>,
    /// Resident memory above which the agent gives traces up, those that matter least first.
    #[arg(long, value_name = "BYTES", value_parser = parse_size, default_value = "128MiB")]
    pub memory: u64,
    /// Most processes that have probes at the same time; those that grow come first.
    #[arg(long, value_name = "N", value_parser = whole_number(1..=1_000), default_value_t = 16)]
    pub max_processes: u32,
    /// Most live blocks that are followed: up to 91 bytes of kernel memory each.
    #[arg(long, value_name = "N", value_parser = whole_number(1_000..=MAX_MAX_LIVE), default_value_t = 1 << 20)]
    pub max_live: u32,
    /// Sample: follow about one allocation in every BYTES allocated, and scale up.
    #[arg(long, value_name = "BYTES", value_parser = parse_sample_bytes)]
    pub sample_bytes: Option<NonZeroU64>,
}

/// Where, and what, the agent serves.
#[derive(Clone, Debug, PartialEq, Args)]
#[command(next_help_heading = "Serving")]
pub struct ServeConfig {
    /// Serve HTTP at this address and port; may be repeated; none serves at no address.
    ///
    /// An address of another kind than 127.0.0.1 and ::1 needs --token-file.
    #[arg(long, value_name = "ADDRESS:PORT|none", value_parser = parse_listen, default_value = "127.0.0.1:9847")]
    pub listen: Vec<Listen>,
    /// Serve HTTP at this Unix socket, for root and its group; none has no socket.
    #[arg(
        long,
        value_name = "PATH|none",
        default_value = "/run/memlens/agent.sock"
    )]
    pub socket: PathBuf,
    /// Answer only requests with the token that this file has: "Authorization: Bearer TOKEN". The socket needs none.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub token_file: Option<PathBuf>,
    /// Rows of processes in /metrics at most, the growing first, then the largest.
    #[arg(long, value_name = "N", value_parser = parse_rows, default_value = "50")]
    pub rows: usize,
    /// Have a row in /metrics for each process, with its PID: as many series as processes have ever been.
    #[arg(long)]
    pub with_pid: bool,
    /// Have the live bytes of the largest 20 functions in /metrics.
    #[arg(long)]
    pub with_functions: bool,
    /// Send profiles to this OTLP receiver by HTTP, such as http://127.0.0.1:4318; off by default.
    ///
    /// The protocol is opentelemetry.proto.profiles.v1development, which is not stable yet. Without TLS: give the
    /// address of a collector nearby.
    #[arg(long, value_name = "URL", value_parser = parse_url)]
    pub otlp: Option<String>,
}

/// An address to serve at, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// None at all.
    Nowhere,
    /// This one.
    At(SocketAddr),
}

/// What the agent writes.
#[derive(Clone, Debug, PartialEq, Args)]
#[command(next_help_heading = "Reports")]
pub struct WriteConfig {
    /// Write reports to this folder; none writes no report.
    #[arg(long, value_name = "DIR|none", value_parser = output_file(), default_value = "/var/lib/memlens")]
    pub state_dir: PathBuf,
    /// When to write one; separate several by commas.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "WHEN")]
    #[arg(default_values = ["oom", "leak", "limit"])]
    pub report_on: Vec<ReportOn>,
    /// Certain growth a minute of a process that a report is written on, with --report-on growth.
    #[arg(long, value_name = "BYTES", value_parser = parse_rate, default_value = "10MiB")]
    pub report_growth: u64,
    /// Time that tasks wait for memory within two seconds, with --report-on stall.
    #[arg(long, value_name = "TIME", value_parser = parse_stall, default_value = "200ms")]
    pub stall: Duration,
    /// Reports that are kept; the oldest go first.
    #[arg(long, value_name = "N", value_parser = whole_number(1..=10_000), default_value_t = 50)]
    pub keep: u32,
    /// Bytes that reports may take together; the oldest go first.
    #[arg(long, value_name = "BYTES", value_parser = parse_size, default_value = "256MiB")]
    pub keep_bytes: u64,
}

/// What stands for no socket, and for no folder.
const NONE: &str = "none";

impl WatchConfig {
    /// The processes that may be traced at all.
    pub fn scope(&self) -> Scope {
        Scope {
            cgroup: self.cgroup.clone(),
            user: self.user.clone(),
            exclude: self.exclude.clone(),
        }
    }
}

impl ServeConfig {
    /// The addresses to serve at.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let all = self.listen.iter();
        let all = all.filter_map(|listen| match listen {
            Listen::Nowhere => None,
            Listen::At(address) => Some(*address),
        });
        all.collect()
    }

    /// The socket to serve at.
    pub fn socket(&self) -> Option<&PathBuf> {
        (self.socket.as_os_str() != NONE).then_some(&self.socket)
    }
}

impl WriteConfig {
    /// The folder to write to.
    pub fn folder(&self) -> Option<&PathBuf> {
        (self.state_dir.as_os_str() != NONE).then_some(&self.state_dir)
    }
}

impl TryFrom<AgentArgs> for AgentConfig {
    type Error = ConfigError;

    fn try_from(args: AgentArgs) -> Result<Self, ConfigError> {
        let config = args.rest;
        let open = |address: &SocketAddr| !address.ip().is_loopback();
        let is_open = config.serve.addresses().into_iter().find(open);
        if let (Some(address), None) = (is_open, &config.serve.token_file) {
            return Err(ConfigError::OpenAddress(address));
        }
        if config.watch.window < config.watch.interval {
            return Err(ConfigError::ShortWindow);
        }
        Ok(config)
    }
}
