//! A finding kind as data: everything about it except the code that finds it.
//!
//! A kind's text is written once, as the doc comment inside `finding!`. rustdoc shows it on the detector's type;
//! `synscope explain` and `docs/findings.md` print the same words.

use crate::detect::context::DetectContext;
use crate::detect::draft::Draft;
use crate::detect::evidence::EvidenceMarks;
pub use crate::detect::evidence::IgnoredPackets;
use crate::flow::facts::ConnectionFacts;
use crate::flow::key::Host;
use crate::history::wants::Wants;
use crate::model::{Kind, Sender};

/// A finding kind. Every list of kinds, and every question about one, reads this.
#[derive(Clone, Copy, Debug)]
pub struct KindSpec {
    /// The kind.
    pub kind: Kind,
    /// Its documentation in Markdown: a first paragraph, then `## ` sections. The lines keep the space that follows
    /// `///` in the source; [`lines`](KindSpec::lines) removes it.
    pub text: &'static str,
    /// The file that detects it.
    pub file: &'static str,
    /// A definition for a reader who knows TCP only roughly: one sentence.
    pub plain_words: &'static str,
    /// Who has to act, for the same reader: no full sentence.
    pub at_fault: &'static str,
    /// The connections that it wants to examine. A connection that no kind wants is only counted.
    pub wants: Wants,
    /// How it is found.
    pub examine: Examine,
    /// Cases in `testdata/` that look much the same and in which it must not be found: the folder, and behind a colon the
    /// capture if not all.
    pub look_alikes: &'static [&'static str],
    /// Counters of the kernel that rise with it, as `nstat` names them.
    pub counters: &'static [&'static str],
    /// Settings that influence it, as `sysctl` names them.
    pub settings: &'static [&'static str],
    /// The packets that the server ignored.
    pub ignored: IgnoredPackets,
    /// The sender of the packets that show it, if it is about a listener.
    pub sender: Option<Sender>,
    /// Its other properties.
    pub properties: &'static [Property],
    /// Kinds that may follow from it at the same listener.
    pub leads_to: &'static [LeadsTo],
}

/// How a kind is found: facts and context in, at most one finding out.
#[derive(Clone, Copy, Debug)]
pub enum Examine {
    /// Each connection that some kind wants.
    Connection(fn(&ConnectionFacts, &DetectContext<'_>) -> Option<Draft>),
    /// Each listener.
    Listener(fn(Host, &DetectContext<'_>) -> Option<Draft>),
    /// Each connection that some kind wants, and each listener.
    Both(
        fn(&ConnectionFacts, &DetectContext<'_>) -> Option<Draft>,
        fn(Host, &DetectContext<'_>) -> Option<Draft>,
    ),
}

/// A property of a kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Property {
    /// It keeps connections from being set up: the report gives the share of the attempts that it hits.
    PreventsSetUp,
    /// A queue was full: the report says whether it drained.
    QueueWasFull,
    /// It describes the outcome of a handshake: a connection has only one of these.
    ExplainsHandshake,
    /// It explains a RST.
    ExplainsReset,
    /// If it is found at many ports of one address, it is a port scan, or a host whose services are gone. If it is
    /// found once at each of many hosts, it is a scan of addresses, or one dead peer of many.
    MayBeScan,
    /// All of its findings at one listener have one cause: the state of its queues, its settings, its end. If one is
    /// certain, all are.
    HasOneCause,
    /// The client gets an error at once, and goes on: a few of them are intended, and happen every day.
    IsAnswered,
    /// The packet's repetition makes up for it, so it does no harm unless a connection is lost.
    IsMadeUpFor,
    /// It ends connections that were set up: one of them is an everyday event, many of them in a row are an outage.
    EndsConnection,
    /// If it is found at a listener as a whole, it does not explain why handshakes failed there.
    ExplainsNoFailure,
    /// It says where a handshake stopped, not why. If packets were lost between two captures, that is the reason.
    SaysWhereItStopped,
    /// It says that no SYN-ACK came: a second capture may hold one that this one missed.
    DeniesSynAck,
    /// It may stand beside handshake packets that were lost between two captures: it has another cause.
    StandsBesideLoss,
    /// It depends on the order of two packets that are close to each other.
    RestsOnOrder,
    /// It is shown by the order of packets, not by their times.
    NeedsNoClock,
    /// Packets that show it have another address in place of one of the connection's.
    SeenUnderAnotherAddress,
}

/// A kind that may follow from another at the same listener.
#[derive(Clone, Copy, Debug)]
pub struct LeadsTo {
    /// The kind that follows.
    pub effect: Kind,
    /// The sentence in the cause's incident about the effect's.
    pub said_of_effect: &'static str,
    /// The sentence in the effect's incident about the cause's.
    pub said_of_cause: &'static str,
    /// When it does.
    pub when: RelationCondition,
}

/// When one kind follows from another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RelationCondition {
    /// Whenever both are found about the same time.
    Always,
    /// If the server had sent no payload on a connection of the effect.
    UnservedInterval,
}

impl KindSpec {
    /// The values of a kind that sets nothing else.
    pub const PLAIN: KindSpec = KindSpec {
        kind: Kind::AcceptQueueOverflow,
        text: "",
        file: "",
        plain_words: "",
        at_fault: "",
        wants: Wants::NOTHING,
        examine: Examine::Listener(|_, _| None),
        look_alikes: &[],
        counters: &[],
        settings: &[],
        ignored: IgnoredPackets::Nothing,
        sender: None,
        properties: &[],
        leads_to: &[],
    };

    /// Whether the kind has this property.
    pub fn has(&self, property: Property) -> bool {
        self.properties.contains(&property)
    }

    /// The lines of the text, as Markdown.
    pub fn lines(&self) -> impl Iterator<Item = &'static str> {
        self.text.lines().map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end())
    }

    /// The first sentence: a short definition.
    pub fn first_sentence(&self) -> String {
        let paragraph: Vec<_> =
            self.lines().skip_while(|line| line.is_empty()).take_while(|line| !line.is_empty()).collect();
        let paragraph = paragraph.join(" ");
        match paragraph.find(". ") {
            Some(end) => paragraph[..=end].to_owned(),
            None => paragraph,
        }
    }
}

impl EvidenceMarks for KindSpec {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn ignored(&self) -> IgnoredPackets {
        self.ignored
    }

    fn sender(&self) -> Option<Sender> {
        self.sender
    }
}

/// Declares a kind's type and its [`KindSpec`], with the explanation from the doc comment.
///
/// The comment is Markdown: first a definition in one sentence and a blank line, then `## ` sections of paragraphs, `*
/// ` lists and code between backticks. Use it at most once per module, it defines `SPEC` there. Fields that are left
/// out are those of [`KindSpec::PLAIN`].
///
/// ```ignore
/// finding! {
///     /// The server goes on sending its SYN-ACK although the client has answered it.
///     ///
///     /// ## On the wire
///     /// ...
///     pub struct AcceptQueueOverflow {
///         kind: Kind::AcceptQueueOverflow,
///         plain_words: "The server's queue is full.",
///         at_fault: "the server's application",
///         wants: Wants::full(|f, _| f.syn_ack.count > 1),
///         examine: Examine::Connection(examine),
///     }
/// }
/// ```
macro_rules! finding {
    ($(#[doc = $line:literal])+ $visibility:vis struct $name:ident { $($field:ident: $value:expr),+ $(,)? }) => {
        $(#[doc = $line])+
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        $visibility struct $name;

        /// Everything about it except the code that finds it.
        pub const SPEC: $crate::detect::spec::KindSpec = $crate::detect::spec::KindSpec {
            $($field: $value,)+
            text: concat!($($line, "\n"),+),
            file: file!(),
            ..$crate::detect::spec::KindSpec::PLAIN
        };
    };
}
pub(crate) use finding;
