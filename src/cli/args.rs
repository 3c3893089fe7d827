//! The command line: one definition gives parsing, `-h`, `--help` and the error messages.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::value::{self, FailOn, Format, HostArg};
use crate::live::ring::RingSize;
use crate::model::{Kind, Severity};
use crate::time::{Span, Timestamp};

/// See [`AnalysisOptions::half_close_after`](crate::engine::AnalysisOptions::half_close_after), of which this is the default as it is typed.
const HALF_CLOSE_AFTER: &str = "60s";

/// Says what the Linux kernel did to the TCP connections in a packet capture, and why.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, after_help = after_help(), arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Examples that can be typed as they are.
pub(super) const EXAMPLES: &str = "  synscope analyze edge-03.pcapng                     diagnose a capture
  synscope analyze client.pcap server.pcap.gz         both ends: lost on the way, or ignored?
  tcpdump -U -w - tcp | synscope analyze -            from a pipe; ^C ends with the report
  synscope analyze --format json --fail-on critical edge-03.pcapng >report.json
  synscope analyze --report html=a.html --report json=a.json edge-03.pcapng
  synscope analyze --host before.json --host after.json edge-03.pcapng
                                                      with 'synscope snapshot' from around it
  synscope extract --redact -o evidence.pcapng edge-03.pcapng
  synscope diff before.json after.json                did the fix work?
  synscope explain accept-queue-overflow              what a finding means
  sudo synscope live -i eth0                          watch an interface";

/// The meaning of each exit code.
pub(super) const EXIT_CODES: &str = "  0  done
  1  done and --fail-on matched; diff: something is new or worse
  2  wrong usage, nothing could be read, or the report could not be written
  3  an input was damaged or left early (^C); the report covers the packets read so far.
     With damaged input the code is 3 even if --fail-on matched: the rest of the input might change the result";

fn after_help() -> String {
    format!("Examples:\n{EXAMPLES}\n\nExit codes:\n{EXIT_CODES}")
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Reads captures and reports what went wrong with their TCP connections.
    Analyze(AnalyzeArgs),
    /// Watches interfaces and reports findings while they happen, checked against the kernel's counters.
    ///
    /// Needs CAP_NET_RAW and, for --netns, CAP_SYS_ADMIN; both are dropped once the interfaces are open. Only headers
    /// are kept. SIGINT (^C) and SIGTERM end the watch with the report; SIGUSR1 prints the report and goes on.
    Live(LiveArgs),
    /// Writes this host's counters, settings and listeners as JSON, for `analyze --host`.
    ///
    /// Take one before the capture and one after it, on the server: `analyze --host before.json --host after.json` then
    /// knows by how much each counter rose, and tells a full queue from a firewall. Reads /proc and asks the kernel
    /// for listening sockets; needs no privileges. Each network namespace has counters of its own: `ip netns exec NAME
    /// synscope snapshot`, `nsenter -t PID -n synscope snapshot`.
    ///
    /// With --follow one file takes the place of both: it runs beside tcpdump, and records what the kernel says of single
    /// packets, too. `analyze --host kernel.jsonl` joins that with the packets.
    Snapshot(SnapshotArgs),
    /// Writes the packets of findings as a small pcapng with comments, without payload.
    Extract(ExtractArgs),
    /// Compares two JSON reports: exit code 1 when an incident is new or worse.
    Diff(DiffArgs),
    /// Explains a kind of finding; without a kind, lists them all.
    Explain(ExplainArgs),
    /// Prints the JSON Schema of the JSON report.
    Schema(SchemaArgs),
    /// Prints completions for a shell.
    ///
    /// bash: `synscope completions bash >/etc/bash_completion.d/synscope`; zsh: into a folder of `$fpath` as `_synscope`;
    /// fish: `synscope completions fish >~/.config/fish/completions/synscope.fish`.
    Completions(CompletionsArgs),
    /// Prints the manual page: `synscope man | man -l -`.
    Man(ManArgs),
    /// One stage of an analysis that is spread over many machines: for the driver in spark/, not for people.
    #[cfg(feature = "fleet")]
    #[command(hide = true)]
    Worker(WorkerArgs),
}

/// Options of `synscope worker`.
#[cfg(feature = "fleet")]
#[derive(Args, Debug)]
pub struct WorkerArgs {
    /// Which stage.
    #[command(subcommand)]
    pub stage: WorkerStage,
}

/// Options of the stages before `synscope worker assemble`. Each stage uses those that concern it.
#[cfg(feature = "fleet")]
#[derive(Args, Debug)]
pub struct StageArgs {
    /// Hand on all segments: points are joined later
    #[arg(long)]
    pub joined: bool,

    /// Write connections as rows of Parquet files, too
    #[arg(long)]
    pub tables: bool,

    /// The output of `worker solve`, about points that are joined
    #[arg(long, value_name = "FILE")]
    pub of_run: Option<PathBuf>,

    /// What to look at, and with what means.
    #[command(flatten)]
    pub scope: Scope,

    /// What must not leave.
    #[command(flatten)]
    pub privacy: PrivacyArgs,
}

/// Options of `synscope worker assemble`.
#[cfg(feature = "fleet")]
#[derive(Args, Debug)]
pub struct AssembleArgs {
    /// The output of `worker solve`, about points that are joined
    #[arg(long, value_name = "FILE")]
    pub of_run: Option<PathBuf>,

    /// What `worker trace` found
    #[arg(long, value_name = "FILE")]
    pub traced: Option<PathBuf>,

    /// The report.
    #[command(flatten)]
    pub analyze: AnalyzeArgs,
}

/// The stages. Each reads an Arrow IPC stream from standard input; all but the last write one to standard output.
#[cfg(feature = "fleet")]
#[derive(Debug, Subcommand)]
pub enum WorkerStage {
    /// Prints the key of --redact, for the driver: all workers need the same one.
    Key(PrivacyArgs),
    /// Bytes of captures to segments. The key of --redact stands in the environment variable SYNSCOPE_REDACT_KEY.
    Decode(StageArgs),
    /// Segments to connections.
    Track(StageArgs),
    /// Events between hosts to the state that servers keep of their clients.
    Merge(Scope),
    /// Handshakes of a point to a sketch of them, and such sketches to one.
    Sketch,
    /// The sketches of all points to their clocks and shared connections.
    Solve,
    /// The results of each point alone to a list of packets to search for at all points.
    Request(StageArgs),
    /// Segments to the packets in FILE, which `worker request` wrote.
    Trace {
        /// The list of packets.
        file: PathBuf,
    },
    /// Everything to a report; `-` stands for the stream. The key of --redact stands in SYNSCOPE_REDACT_KEY.
    Assemble(AssembleArgs),
}

/// Options of `synscope analyze`.
#[derive(Args, Debug)]
pub struct AnalyzeArgs {
    /// Captures to read as one stream in time order, or as two sides of the same traffic; `-` is standard input
    ///
    /// pcap and pcapng, plain or compressed (gz, zstd, lz4, xz), recognised by their content. SIGINT (^C) and SIGTERM
    /// end the input: the report covers the packets read so far. A second one ends the program at once.
    #[arg(value_name = "CAPTURE", required_unless_present = "point", conflicts_with = "point")]
    pub captures: Vec<PathBuf>,

    /// How the report is written [default: text]
    #[arg(short, long, value_enum, ignore_case = true, value_name = "FORMAT", help_heading = "Report")]
    pub format: Option<Format>,

    /// Write the report to FILE instead of standard output (`-`)
    ///
    /// Opened before the analysis, so that a path that cannot be written is known at once. An existing file is
    /// replaced when the report is ready; one of the captures is never overwritten.
    #[arg(short, long, value_name = "FILE", help_heading = "Report")]
    pub output: Option<PathBuf>,

    /// Write the report in FORMAT to FILE as well; may be repeated
    ///
    /// `--report html=a.html --report json=a.json`. Where it is used, standard output gets a report only with --format
    /// or --output.
    #[arg(long, value_name = "FORMAT=FILE", value_parser = value::report, help_heading = "Report")]
    pub report: Vec<(Format, PathBuf)>,

    /// The markup that the `markdown` format writes
    #[arg(long, value_enum, ignore_case = true, default_value_t = FlavorName::Github, value_name = "FLAVOR", help_heading = "Report")]
    pub flavor: FlavorName,

    /// In the `markdown` format, leave nothing out
    #[arg(long, help_heading = "Report")]
    pub full: bool,

    /// In the `text` format, show everything: all packets of the examples, other causes, kernel names and settings
    ///
    /// Without it the report is short: one incident takes 20 lines, and the verdict comes last.
    #[arg(short, long, help_heading = "Report")]
    pub verbose: bool,

    /// In the `text` format, list the kernel settings inferred from the packets
    #[arg(long, help_heading = "Report")]
    pub settings: bool,

    /// Exit with code 1 when the report has such a finding
    ///
    /// The name of a kind (`synscope explain` lists them), a severity (`info`, `warning`, `critical`: a finding at
    /// least that severe) or `any`. Several with commas or by repeating the option.
    #[arg(
        long,
        value_name = "KIND|SEVERITY|any",
        value_delimiter = ',',
        value_parser = FailOn::parser(),
        ignore_case = true,
        hide_possible_values = true,
        help_heading = "Report"
    )]
    pub fail_on: Vec<FailOn>,

    /// Use colours: `auto` where the output is a terminal and NO_COLOR is not set
    #[arg(long, value_enum, ignore_case = true, default_value_t = ColorWhen::Auto, value_name = "WHEN", help_heading = "Report")]
    pub color: ColorWhen,

    /// Show no progress on standard error
    ///
    /// Progress is shown only while standard error is a terminal, and only when the work takes long.
    #[arg(short, long, help_heading = "Report")]
    pub quiet: bool,

    /// What to look at, and with what means.
    #[command(flatten)]
    pub scope: Scope,

    /// What must not leave.
    #[command(flatten)]
    pub privacy: PrivacyArgs,
}

/// Options of `synscope live`.
#[derive(Args, Debug)]
pub struct LiveArgs {
    /// Watch this interface; may be repeated, `any` is all of them
    #[arg(
        short,
        long,
        value_name = "INTERFACE",
        required_unless_present = "list_interfaces",
        help_heading = "Capture"
    )]
    pub interface: Vec<String>,

    /// List the interfaces and end
    #[arg(short = 'D', long, help_heading = "Capture")]
    pub list_interfaces: bool,

    /// Capture only packets that match this pcap-filter(7) expression
    ///
    /// Findings need both directions of a connection, and ICMP: do not filter them out.
    #[arg(long, value_name = "BPF", default_value = "", hide_default_value = true, help_heading = "Capture")]
    pub filter: String,

    /// Keep this many bytes of each packet: enough for headers with options, VLAN tags and a tunnel
    #[arg(
        short,
        long,
        value_name = "BYTES",
        default_value_t = 192,
        value_parser = clap::value_parser!(u32).range(64..=262_144),
        help_heading = "Capture"
    )]
    pub snaplen: u32,

    /// The kernel's buffer for each interface
    #[arg(short = 'B', long, value_name = "SIZE", value_parser = value::size, default_value = "64MiB", help_heading = "Capture")]
    pub buffer: u64,

    /// Keep the last packets in a ring of files: FILE.000001.pcapng and so on; those of incidents in FILE.ID.pcapng
    #[arg(long, value_name = "FILE", help_heading = "Outputs")]
    pub write: Option<PathBuf>,

    /// How many files the ring has, and how large they become
    #[arg(
        long,
        value_name = "NxSIZE",
        default_value = "8x64MiB",
        requires = "write",
        help_heading = "Outputs"
    )]
    pub ring: RingSize,

    /// Serve OpenMetrics at http://ADDRESS:PORT/metrics; a port alone is one of loopback
    #[arg(long, value_name = "[ADDRESS:]PORT", value_parser = value::metrics, help_heading = "Outputs")]
    pub metrics: Option<std::net::SocketAddr>,

    /// The events that `jsonl` has
    #[arg(long, value_enum, ignore_case = true, default_value_t = EventsOf::Incidents, value_name = "WHAT", help_heading = "Outputs")]
    pub events: EventsOf,

    /// Start PROGRAM when an incident opens, changes or closes, with the event as JSON on its standard input
    ///
    /// It is started directly: no shell reads it, and it has no arguments. It has no more rights than the watch.
    #[arg(long, value_name = "PROGRAM", help_heading = "Outputs")]
    pub on_incident: Option<PathBuf>,

    /// Write the report so far to its files again and again, after each such time
    #[arg(long, value_name = "DURATION", value_parser = value::duration, help_heading = "Report")]
    pub report_every: Option<Span>,

    /// End after N packets
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Capture")]
    pub count: Option<u64>,

    /// End after this time: 30s, 5m, 12h
    #[arg(long, value_name = "DURATION", value_parser = value::duration, help_heading = "Capture")]
    pub duration: Option<Span>,

    /// Do not put the interface into promiscuous mode
    #[arg(short = 'p', long, help_heading = "Capture")]
    pub no_promiscuous: bool,

    /// Watch in this network namespace: a name (`ip netns list`) or a process's number
    #[arg(long, value_name = "NAME|PID", help_heading = "Capture")]
    pub netns: Option<String>,

    /// Do not ask the kernel for its counters, settings and listeners
    #[arg(long, help_heading = "Capture")]
    pub no_host: bool,

    /// Ask the kernel about the fate of single packets, and the reason
    ///
    /// `auto`: as far as this kernel and this user's rights allow. `on`: end with an error where they do not. Takes
    /// CAP_BPF and CAP_PERFMON, which are given up before packets are read.
    #[arg(long, value_enum, ignore_case = true, default_value_t = AskKernel::Auto, value_name = "WHEN", help_heading = "Capture")]
    pub kernel: AskKernel,

    /// How events are written as they come, and the report in the end [default: a screen on a terminal, else text]
    ///
    /// `text`: a log for people, then the report. `jsonl`: one event a line; the report only with --output or --report.
    /// Any other: no log, the report in that format.
    #[arg(short, long, value_enum, ignore_case = true, value_name = "FORMAT", help_heading = "Report")]
    pub format: Option<Format>,

    /// Write the report to FILE instead of standard output (`-`)
    #[arg(short, long, value_name = "FILE", help_heading = "Report")]
    pub output: Option<PathBuf>,

    /// Write the report in FORMAT to FILE as well; may be repeated
    #[arg(long, value_name = "FORMAT=FILE", value_parser = value::report, help_heading = "Report")]
    pub report: Vec<(Format, PathBuf)>,

    /// The markup that the `markdown` format writes
    #[arg(long, value_enum, ignore_case = true, default_value_t = FlavorName::Github, value_name = "FLAVOR", help_heading = "Report")]
    pub flavor: FlavorName,

    /// In the `markdown` format, leave nothing out
    #[arg(long, help_heading = "Report")]
    pub full: bool,

    /// Exit with code 1 when the report has such a finding: a kind, a severity, or `any`
    #[arg(
        long,
        value_name = "KIND|SEVERITY|any",
        value_delimiter = ',',
        value_parser = FailOn::parser(),
        ignore_case = true,
        hide_possible_values = true,
        help_heading = "Report"
    )]
    pub fail_on: Vec<FailOn>,

    /// Use colours: `auto` where the output is a terminal and NO_COLOR is not set
    #[arg(long, value_enum, ignore_case = true, default_value_t = ColorWhen::Auto, value_name = "WHEN", help_heading = "Report")]
    pub color: ColorWhen,

    /// Report a half-closed connection whose open side has been silent for this long
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = value::duration,
        default_value = HALF_CLOSE_AFTER,
        help_heading = "What to look at"
    )]
    pub half_close_after: Span,

    /// Use N threads besides those that capture; 0 is one per core
    #[arg(short, long, value_name = "N", default_value_t = 0, help_heading = "Resources")]
    pub threads: usize,

    /// Keep tables and facts within this much memory; the report says how much was left out
    #[arg(long, value_name = "SIZE", value_parser = value::size, default_value = "512MiB", help_heading = "Resources")]
    pub memory_limit: u64,
}

/// Options of `synscope extract`.
#[derive(Args, Debug)]
pub struct ExtractArgs {
    /// Captures to read as one stream in time order; each is read twice, so `-` cannot be one
    #[arg(value_name = "CAPTURE", required_unless_present = "point", conflicts_with = "point")]
    pub captures: Vec<PathBuf>,

    /// Write the packets to FILE (pcapng); `-` is standard output
    #[arg(short, long, value_name = "FILE", help_heading = "Extract")]
    pub output: PathBuf,

    /// Only the packets of this finding or incident, by its id; may be repeated
    #[arg(long, value_name = "ID", help_heading = "Extract")]
    pub id: Vec<String>,

    /// Only the packets of findings of this kind; may be repeated
    #[arg(long, value_name = "KIND", value_parser = value::kind_parser(), ignore_case = true, hide_possible_values = true, help_heading = "Extract")]
    pub kind: Vec<Kind>,

    /// All packets of the connections, not only those that a finding names
    #[arg(long, conflicts_with = "listener", help_heading = "Extract")]
    pub whole: bool,

    /// All connections of the listeners concerned, so that analyzing the extract gives the same findings
    #[arg(long, help_heading = "Extract")]
    pub listener: bool,

    /// Show no progress on standard error
    #[arg(short, long, help_heading = "Extract")]
    pub quiet: bool,

    /// What to look at, and with what means.
    #[command(flatten)]
    pub scope: Scope,

    /// What must not leave.
    #[command(flatten)]
    pub privacy: PrivacyArgs,
}

/// Options of `synscope diff`.
#[derive(Args, Debug)]
pub struct DiffArgs {
    /// The JSON report from before
    #[arg(value_name = "OLD.json")]
    pub old: PathBuf,

    /// The JSON report from after
    #[arg(value_name = "NEW.json")]
    pub new: PathBuf,

    /// How the comparison is written
    #[arg(short, long, value_enum, ignore_case = true, default_value_t = DiffFormat::Text, value_name = "FORMAT")]
    pub format: DiffFormat,

    /// The markup that the `markdown` format writes
    #[arg(long, value_enum, ignore_case = true, default_value_t = FlavorName::Github, value_name = "FLAVOR")]
    pub flavor: FlavorName,

    /// Leave out incidents less severe than this
    #[arg(long, value_enum, ignore_case = true, default_value_t = Least::Info, value_name = "SEVERITY")]
    pub at_least: Least,

    /// Use colours: `auto` where the output is a terminal and NO_COLOR is not set
    #[arg(long, value_enum, ignore_case = true, default_value_t = ColorWhen::Auto, value_name = "WHEN")]
    pub color: ColorWhen,
}

/// How a comparison is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DiffFormat {
    /// For a terminal.
    Text,
    /// For a ticket.
    Markdown,
    /// For programs.
    Json,
}

/// A severity and all above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Least {
    /// All.
    Info,
    /// Users wait or are refused.
    Warning,
    /// Connections fail.
    Critical,
}

impl From<Least> for Severity {
    fn from(least: Least) -> Severity {
        match least {
            Least::Info => Severity::Info,
            Least::Warning => Severity::Warning,
            Least::Critical => Severity::Critical,
        }
    }
}

/// What must not leave.
#[derive(Args, Debug, Default)]
pub struct PrivacyArgs {
    /// Cut extracted packets after the TCP header. This is the default
    #[arg(long, conflicts_with = "keep_payload", help_heading = "Privacy")]
    pub strip_payload: bool,

    /// Keep the payload of extracted packets
    #[arg(long, help_heading = "Privacy")]
    pub keep_payload: bool,

    /// Replace addresses by pseudonyms, zero MAC addresses, leave out payload and names
    ///
    /// Pseudonyms keep prefixes: addresses of one network get pseudonyms of one network. They are the same in report and
    /// extract of one run, and those of another run only with --redact-key-file. Ports, times and lengths stay.
    #[arg(long, conflicts_with = "keep_payload", help_heading = "Privacy")]
    pub redact: bool,

    /// Read the key of --redact from FILE, or make one and keep it there
    ///
    /// With the key anyone can find the addresses behind the pseudonyms. It is never printed.
    #[arg(long, value_name = "FILE", requires = "redact", help_heading = "Privacy")]
    pub redact_key_file: Option<PathBuf>,
}

/// What to look at, and with what means.
#[derive(Args, Debug)]
pub struct Scope {
    /// Keep only connections with this IP address at either end; or use a file that `synscope snapshot` wrote
    ///
    /// An address may be repeated. Snapshots are of the server, one from before the capture and one from after it: the
    /// report then says which of its causes the counters confirm or refute. One alone gives settings and listeners. Of
    /// more than two the first and the last in time are used. What `synscope snapshot --follow` wrote beside the capture
    /// serves as both, and has the kernel's verdicts on single packets. A file whose name is an address: ./192.0.2.1.
    #[arg(long, value_name = "ADDR|SNAPSHOT", value_parser = value::host, help_heading = "What to look at")]
    pub host: Vec<HostArg>,

    /// Keep only connections with this port at either end, a number or a common name (https); may be repeated
    #[arg(long, value_name = "N", value_parser = value::port, help_heading = "What to look at")]
    pub port: Vec<u16>,

    /// Ignore packets before this time: RFC 3339, or 'YYYY-MM-DD HH:MM:SS' in UTC
    #[arg(long, value_name = "TIME", value_parser = value::time, help_heading = "What to look at")]
    pub since: Option<Timestamp>,

    /// Ignore packets after this time: RFC 3339, or 'YYYY-MM-DD HH:MM:SS' in UTC
    #[arg(long, value_name = "TIME", value_parser = value::time, help_heading = "What to look at")]
    pub until: Option<Timestamp>,

    /// Report a half-closed connection whose open side has been silent for this long
    ///
    /// A number with a unit: 500ms, 2s, 1m, 1h.
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = value::duration,
        default_value = HALF_CLOSE_AFTER,
        help_heading = "What to look at"
    )]
    pub half_close_after: Span,

    /// Take the captures for two sides of the same traffic, and fail if they are not
    ///
    /// Without it up to 8 captures are looked at for connections that two of them saw at different places. If so, each
    /// side is analyzed for itself and the clocks are compared. Each packet that matters is looked for in the other
    /// capture. Needs files: what comes through a pipe cannot be read again.
    #[arg(long, conflicts_with = "no_pair", help_heading = "What to look at")]
    pub pair: bool,

    /// Read the captures as one stream in time order, even if they are two sides of the same traffic
    #[arg(long, help_heading = "What to look at")]
    pub no_pair: bool,

    /// Join captures of several places: FILE was captured at the place that you call NAME; may be repeated
    ///
    /// `--point client=c.pcap --point lb=lb.pcap --point web1=w.pcap`: two places or more, in any order, in place of CAPTURE.
    /// With the same name again several files are of one place. Connections are recognised through NAT, clocks are compared, and
    /// the report says between which two places packets were lost. Needs files: what comes through a pipe cannot be read again.
    #[arg(
        long,
        value_name = "NAME=FILE",
        value_parser = value::point,
        conflicts_with_all = ["pair", "no_pair"],
        help_heading = "What to look at"
    )]
    pub point: Vec<(String, PathBuf)>,

    /// Use N threads, at most 1024; 0 is one per core. The report does not depend on it
    #[arg(short, long, value_name = "N", default_value_t = 0, help_heading = "Resources")]
    pub threads: usize,

    /// Keep tables and facts within this much memory; the report says how much was left out
    ///
    /// A number with a unit: 512MiB, 2G.
    #[arg(long, value_name = "SIZE", value_parser = value::size, default_value = "1GiB", help_heading = "Resources")]
    pub memory_limit: u64,
}

/// Options of `synscope snapshot`.
#[derive(Args, Debug)]
pub struct SnapshotArgs {
    /// Write the snapshot to FILE instead of standard output (`-`)
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Go on until SIGINT (^C) or SIGTERM: record counters, queues and the kernel's verdicts on single packets
    ///
    /// One JSON object a line. Verdicts take CAP_BPF and CAP_PERFMON, which are given up before anything is recorded.
    #[arg(long)]
    pub follow: bool,

    /// End after this long: a number with a unit, such as 30s, 5m
    #[arg(long, value_name = "DURATION", value_parser = value::duration, requires = "follow")]
    pub duration: Option<Span>,

    /// Ask the kernel why it drops or refuses single packets
    ///
    /// `auto`: as far as this kernel and this user's rights allow. `on`: end with an error where they do not.
    #[arg(long, value_enum, ignore_case = true, default_value_t = AskKernel::Auto, value_name = "WHEN", requires = "follow")]
    pub kernel: AskKernel,
}

/// Options of `synscope explain`.
#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// The kind of finding, as the report names it
    #[arg(value_name = "KIND", value_parser = value::kind_parser(), ignore_case = true, hide_possible_values = true)]
    pub kind: Option<Kind>,

    /// Use colours: `auto` where the output is a terminal and NO_COLOR is not set
    #[arg(long, value_enum, ignore_case = true, default_value_t = ColorWhen::Auto, value_name = "WHEN")]
    pub color: ColorWhen,
}

/// Options of `synscope schema`.
#[derive(Args, Debug)]
pub struct SchemaArgs {
    /// The schema of an event instead: a line of `synscope live --format jsonl`
    #[arg(long)]
    pub events: bool,
}

/// Options of `synscope completions`.
#[derive(Args, Debug)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

/// Options of `synscope man`.
#[derive(Args, Debug)]
pub struct ManArgs {
    /// The command whose page is wanted; without it, that of the program
    #[arg(value_name = "COMMAND")]
    pub command: Option<String>,
}

/// Whose markup is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FlavorName {
    /// GitHub's Markdown.
    Github,
    /// GitLab's Markdown.
    Gitlab,
    /// Jira's wiki markup.
    Jira,
}

/// The events that JSON lines have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EventsOf {
    /// Incidents: when one opens, changes or closes.
    Incidents,
    /// Every finding as well.
    Findings,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ColorWhen {
    /// Where the output is a terminal and NO_COLOR is not set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Whether the kernel is asked about single packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum AskKernel {
    /// Where it can be.
    Auto,
    /// In any case.
    On,
    /// Never.
    Off,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_defaults_on_the_command_line_are_those_of_the_engine() {
        let half_close_after = value::duration(HALF_CLOSE_AFTER).expect("a duration");
        assert_eq!(half_close_after, crate::engine::AnalysisOptions::default().half_close_after);
    }

    #[test]
    fn the_definitions_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_option_says_what_it_is_for() {
        for command in Cli::command().get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for arg in command.get_arguments() {
                assert!(arg.get_help().is_some(), "{} {}", command.get_name(), arg.get_id());
            }
        }
    }

    fn analyze(words: &[&str]) -> Result<AnalyzeArgs, clap::Error> {
        let words = ["synscope", "analyze"].iter().chain(words);
        match Cli::try_parse_from(words)?.command {
            Command::Analyze(args) => Ok(args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn without_options_the_engine_gets_its_own_defaults() {
        let ours = analyze(&["a.pcap"]).unwrap().scope.options();
        let theirs = crate::engine::AnalysisOptions::default();
        assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
    }

    #[test]
    fn lists_come_with_commas_and_by_repetition() {
        let args = analyze(&[
            "--fail-on",
            "syn-flood,critical",
            "--fail-on",
            "any",
            "--port",
            "80",
            "--port",
            "443",
            "--host",
            "::1",
            "--host",
            "before.json",
            "a",
            "-",
        ])
        .unwrap();
        assert_eq!(args.fail_on.len(), 3);
        assert_eq!(args.scope.port, [80, 443]);
        assert_eq!(args.scope.options().hosts, ["::1".parse::<std::net::IpAddr>().unwrap()]);
        assert_eq!(args.scope.snapshots().collect::<Vec<_>>(), [std::path::Path::new("before.json")]);
        assert_eq!(args.captures.len(), 2);
    }

    #[test]
    fn a_misspelt_kind_gets_a_suggestion() {
        let text = analyze(&["--fail-on", "sin-flood", "a"]).unwrap_err().to_string();
        assert!(text.contains("'syn-flood'"), "{text}");
        let text = analyze(&["--half-close-after", "60", "a"]).unwrap_err().to_string();
        assert!(text.contains("with a unit: 500ms"), "{text}");
    }
}
