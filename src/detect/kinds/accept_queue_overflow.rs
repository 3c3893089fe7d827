//! `accept-queue-overflow`: the accept queue was full and the final ACK was dropped in silence.

use crate::detect::analysis::listener_activity::Stuck;
use crate::detect::analysis::path_loss;
use crate::detect::context::DetectContext;
use crate::detect::draft::{Draft, cause, count, times};
use crate::detect::explain::finding;
use crate::detect::next;
use crate::flow::facts::{ConnectionFacts, FinalAck, Roles, Sent};
use crate::history::interval::Interval;
use crate::model::{IfArrived, Kind, Severity, Vantage};
use crate::time::{Span, Timestamp};

finding! {
    /// The server goes on sending its SYN-ACK although the client has answered it.
    ///
    /// ## On the wire
    /// SYN, SYN-ACK, final ACK; then the same SYN-ACK again after about 1 s, 3 s, 7 s. The client answers each with an
    /// ACK. If it sends data, the data is repeated too and never acknowledged. Then either an acknowledgment for all
    /// of it at once (the queue had room again), or silence, and a RST to whatever the client sends after the last
    /// retry. A handshake that was answered with a syncookie leaves no request: no SYN-ACK comes again, and only the
    /// client's data is repeated.
    /// ## In the kernel
    /// The handshake was complete but the accept queue was full (more than `min(listen backlog, somaxconn)` waiting),
    /// so the final ACK was dropped and the request stayed half open: `tcp_check_req`, `tcp_v4_syn_recv_sock`
    /// (`tcp_get_cookie_sock` after a cookie), counters `ListenOverflows` and `ListenDrops`. With
    /// `tcp_abort_on_overflow=1` it would have been a RST: see `accept-queue-reset`. Linux 4.10 and later refuse new
    /// SYNs while the queue is full (`syn-drop-accept-queue`), so there only handshakes already under way get here.
    /// ## Looks alike
    /// * The final ACK was lost on its way to the server: told apart at the server's own interface, where it is missing.
    /// * A firewall behind the capture point dropped it: packet for packet the same. Only counters tell, or a SYN-ACK
    ///   whose TSecr echoes one of the ignored segments (kernels before the 6.14 cycle), which proves that TCP read it.
    /// * `TCP_DEFER_ACCEPT`: a silent client, a single SYN-ACK retransmission, and the first data is taken at once.
    /// * A round trip above 1 s: the SYN-ACK was repeated before the final ACK could arrive.
    /// * The path to the server is full for seconds, so that the final ACK comes late: what the server then
    ///   acknowledges echoes a timestamp from before the client repeated anything.
    /// * The client sent its SYN more than once, and each drew a SYN-ACK.
    /// * The server or the path dies after the handshake: nothing comes from the server any more, on no connection.
    /// * The same packet captured twice.
    /// ## Check next
    /// `ss -ltn` at the listener: Recv-Q above Send-Q means full now. `nstat -az TcpExtListenOverflows
    /// TcpExtListenDrops`, twice. Is the application calling accept()? Then raise the listen backlog and
    /// `net.core.somaxconn` together; the new size counts from the next listen().
    /// ## References
    /// listen(2), tcp(7); RFC 9293 section 3.10.7.4; `net/ipv4/tcp_minisocks.c`, `net/ipv4/inet_connection_sock.c`
    pub struct AcceptQueueOverflow = Kind::AcceptQueueOverflow
}

/// A timer's SYN-ACK comes no sooner than this after the one before: the timer starts at 1 s (`TCP_TIMEOUT_INIT`,
/// RFC 6298 section 2.1) and is never early; the path may shorten that a little.
const TIMER: Span = Span::millis(900);
/// A SYN-ACK repeated sooner, but not at once, comes from a timer that is not Linux's.
const FOREIGN_TIMER: std::ops::Range<i64> = 50_000_000..850_000_000;
/// The first retransmission of a 1 s timer, with the slack of a listener that is swept every 200 ms (before 4.2).
const FIRST_REPEAT: Span = Span::millis(1_700);
/// How much later than that a timer's SYN-ACK may come, each time: the sweep again, and a busy server.
const SWEEP: Span = Span::millis(800);
/// How much later than a round trip an answer may come and still be one.
const TURNAROUND: Span = Span::millis(100);
/// Retransmissions that an ignored client must have made where no SYN-ACK came again.
const COOKIE_RETRANSMITS: u16 = 3;
/// Segments of this size and larger may be what a path with a small MTU swallows, octets.
const SUSPICIOUSLY_LARGE: u32 = 1_200;
/// How far the TSval of a cookie may lag, milliseconds, with some for drift and for delays that vary.
const COOKIE_LAG: std::ops::RangeInclusive<i64> = -1..=66;
/// A lag that delays seldom vary by, milliseconds; three of four cookies have it.
const CLEAR_LAG: i64 = 16;
/// No buffer on the way is large enough to hold segments back for this long.
const LASTING: Span = Span::secs(7);
/// How near in time another connection must be stuck to speak for a full queue.
const SAME_TIME: Span = Span::secs(10);

/// What the handshake of a connection went through after the client had completed it.
#[derive(Clone, Debug)]
pub struct IgnoredAck<'a> {
    /// The client's final ACK.
    pub ack: FinalAck,
    /// SYN-ACK retransmissions that only a server which ignored the final ACK sends.
    pub repeats: Vec<&'a Sent>,
    /// Whether the client had sent data (or FIN) in time for one of them, and the server ignored that too.
    pub data_ignored: bool,
    /// A retransmission echoes the timestamp of an ignored segment: the server's TCP has read it.
    pub read_by_tcp: bool,
    /// From the final ACK to whatever ended it.
    pub during: Interval,
    /// When the client was surely ignored, if its segments reached the server.
    pub ignored: Interval,
    /// The first of `repeats` came when the timer of a request is due, not when a listener that defers asks.
    pub on_time: bool,
}

impl IgnoredAck<'_> {
    /// What to compare other connections of the listener with.
    pub fn stuck(&self, f: &ConnectionFacts) -> Option<Stuck> {
        let retransmits = u32::from(f.unanswered.retransmits);
        let repeats = self.repeats.len() as u32;
        let on_schedule = self.on_time && !lacks_syn_acks(f);
        (repeats > 0 || retransmits >= u32::from(COOKIE_RETRANSMITS)).then_some(Stuck {
            during: self.during,
            ignored: self.ignored,
            repeats,
            retransmits,
            data_ignored: on_schedule && self.data_ignored,
            in_vain: on_schedule && (repeats < 2 || self.data_ignored || answered_in_vain(f, self)),
            lasting: self.outlasts_buffers(f),
            lag: cookie_lag(f),
            client: f.client,
        })
    }

    /// Whether the client was ignored for longer than a buffer on the way holds its segments back: the third SYN-ACK
    /// retransmission comes after 7 s, data would have been acknowledged when it came out, and what was acknowledged
    /// would have been the first transmission.
    fn outlasts_buffers(&self, f: &ConnectionFacts) -> bool {
        let asked = self.repeats.len() >= 2 && f.unanswered.retransmits > 0;
        let lasted = f.c.first_data.or(f.c.fin).map_or(Span::ZERO, |spoke| self.during.to - spoke.time);
        (self.repeats.len() >= 3 && !lacks_syn_acks(f))
            || (asked && lasted >= LASTING)
            || (asked && f.progress.is_some() && f.timestamps() && !was_late(f))
    }
}

/// Reads the ordeal of a handshake, if its client completed it; `end` is where the capture ends.
pub fn ordeal(f: &ConnectionFacts, end: Timestamp) -> Option<IgnoredAck<'_>> {
    let ack = f.final_ack?;
    if f.roles == Roles::Guessed || f.odd_handshake || f.syn_ack.count == 0 {
        return None;
    }
    if has_foreign_timer(f) || f.other_isns > 0 {
        return None;
    }
    let turnaround = server_turnaround(f);
    let ignored = Sent::AFTER_FINAL_ACK;
    let late = was_late(f);
    let mut repeats: Vec<&Sent> = Vec::new();
    let mut before: Option<&Sent> = None;
    for sent in f.syn_ack.iter() {
        let timed = before.is_some_and(|b| sent.at.time - b.at.time >= TIMER);
        let late_enough = sent.at.time - ack.at.time > turnaround;
        let excused = sent.context & (Sent::AFTER_PROGRESS | Sent::AFTER_RESET) != 0;
        if sent.is(ignored) && timed && late_enough && !late && !excused && !answers_a_syn(f, sent) {
            repeats.push(sent);
        }
        before = Some(sent);
    }
    let spoke = [f.c.first_data, f.c.fin].into_iter().flatten().map(|at| at.time).min();
    // What is sent after the SYN-ACK was repeated for the last time may be lost while the server waits for it.
    let data_ignored = spoke.is_some_and(|spoke| {
        repeats.iter().any(|r| r.is(Sent::AFTER_DATA) && r.at.time - spoke > turnaround + TURNAROUND)
    });
    let last_syn = f.syn.iter().map(|syn| syn.tsval).last();
    let read_by_tcp = f.timestamps()
        && last_syn.is_some_and(|last| {
            repeats.iter().any(|r| {
                let newer_than_syn = (r.tsecr.wrapping_sub(last) as i32) > 0;
                let not_newer_than_sent = [ack.tsval, f.unanswered.tsval, f.c.tsval.unwrap_or(0)]
                    .iter()
                    .any(|&sent| (sent.wrapping_sub(r.tsecr) as i32) >= 0);
                newer_than_syn && not_newer_than_sent && f.syn.iter().all(|syn| syn.tsval != r.tsecr)
            })
        });
    let over = [f.progress.map(|p| p.at.time), f.s.reset.as_ref().map(|r| r.at.time)];
    let mut to = over.into_iter().flatten().min().unwrap_or(f.closed.unwrap_or(end));
    if let (Some(last), Some(_), 0) = (repeats.last(), f.progress, f.unanswered.retransmits) {
        // A client with nothing to say was let in by its answer to the last SYN-ACK; the server's first word says only
        // that it had been.
        to = last.at.time.max(f.unanswered.last_ack.time).min(to);
    }
    let ignored = surely_ignored(f, ack, &repeats);
    let on_time = is_on_time(f, &repeats);
    let during = Interval { from: ack.at.time, to };
    Some(IgnoredAck { ack, repeats, data_ignored, read_by_tcp, during, ignored, on_time })
}

/// Whether the first of these SYN-ACKs came when the timer of a request is due: 1 s after the one before, or twice the
/// time between those before. One that comes later is that of a listener that defers, or the first to pass after an
/// outage.
fn is_on_time(f: &ConnectionFacts, repeats: &[&Sent]) -> bool {
    let Some(again) = repeats.first() else { return false };
    let before: Vec<&Sent> = f.syn_ack.iter().take_while(|sent| sent.at < again.at).collect();
    let Some(last) = before.last() else { return false };
    let waited = again.at.time - last.at.time;
    let is_second = before.len() >= 2 && waited <= growth(before[before.len() - 2].at.time, last.at.time);
    waited <= FIRST_REPEAT || is_second || again.syns > last.syns
}

/// The longest that the timer waits after it has waited from `from` to `to`.
fn growth(from: Timestamp, to: Timestamp) -> Span {
    Span((to - from).0.saturating_mul(2)) + SWEEP
}

/// Whether SYN-ACKs were repeated as no Linux timer does: too soon, or again and again after the same time. (Each of
/// its waits is twice the one before; a listener swept every 200 ms blurs that, it does not level it.)
fn has_foreign_timer(f: &ConnectionFacts) -> bool {
    let all: Vec<&Sent> = f.syn_ack.iter().collect();
    let gaps = || all.windows(2).map(|pair| (pair[1], pair[1].at.time - pair[0].at.time));
    let too_soon = gaps().any(|(sent, gap)| FOREIGN_TIMER.contains(&gap.0) && !answers_a_syn(f, sent));
    let timed: Vec<Span> = gaps().filter(|(sent, _)| !answers_a_syn(f, sent)).map(|(_, gap)| gap).collect();
    let level =
        f.syn.count <= 1 && timed.len() >= 2 && timed[1].0.saturating_mul(10) < timed[0].0.saturating_mul(12);
    too_soon || level
}

/// How long after the final ACK passed the capture point a SYN-ACK sent before it arrived may still pass: the time
/// from here to the server and back. Without timestamps a SYN that was sent several times leaves open which one was
/// answered; then the longest possible time counts.
fn server_turnaround(f: &ConnectionFacts) -> Span {
    let Some(answer) = f.syn_ack.first() else { return Span::ZERO };
    let asked = f.syn.iter().take(usize::from(answer.syns));
    let delay = if f.timestamps() || asked.clone().count() <= 1 {
        f.syn_to_syn_ack()
    } else {
        asked.map(|syn| answer.at.time - syn.at.time).max()
    };
    let delay = delay.unwrap_or(Span::ZERO).max(Span::ZERO);
    Span(delay.0 + delay.0 / 10 + 5_000_000)
}

/// Whether the server took what the client had sent before it repeated anything: that had been on its way for long, and
/// was not ignored.
fn was_late(f: &ConnectionFacts) -> bool {
    let (Some(progress), Some(repeated_from)) = (f.progress, f.unanswered.repeated_from) else {
        return false;
    };
    f.timestamps() && (progress.tsecr.wrapping_sub(repeated_from) as i32) < 0
}

/// Whether a SYN-ACK answers a SYN of its own: it comes one turnaround after a SYN that was sent again.
fn answers_a_syn(f: &ConnectionFacts, syn_ack: &Sent) -> bool {
    let shortest = f.syn_to_syn_ack().unwrap_or(Span::ZERO).max(Span::ZERO);
    let longest = server_turnaround(f);
    f.syn.iter().skip(1).any(|syn| {
        let after = syn_ack.at.time - syn.at.time;
        after >= Span::ZERO && (after - shortest <= TURNAROUND || after <= longest)
    })
}

/// How the server came to ignore the client.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Picture {
    /// SYN-ACK repeated and data ignored.
    Data,
    /// SYN-ACK repeated more than once to a silent client.
    Silent,
    /// One repetition to a silent client, and other connections that show what it means.
    Once,
    /// No repetition: the handshake was a cookie's.
    Cookie,
}

/// See [`AcceptQueueOverflow`].
pub fn examine(f: &ConnectionFacts, around: &DetectContext<'_>) -> Option<Draft> {
    let ordeal = ordeal(f, around.end())?;
    let picture = picture(f, &ordeal, around)?;
    Some(write(f, &ordeal, picture, around))
}

fn picture(f: &ConnectionFacts, o: &IgnoredAck<'_>, around: &DetectContext<'_>) -> Option<Picture> {
    let others = || around.others_stuck(f, o.during, SAME_TIME);
    match o.repeats.len() {
        0 => {
            let u = &f.unanswered;
            let ignored = u.retransmits >= COOKIE_RETRANSMITS && o.during.to - o.during.from >= Span::secs(1);
            // Alone it proves nothing: a dead path or a small MTU looks the same.
            let company = others().any(Stuck::shows_a_full_queue)
                || (others().count() >= 2 && u.largest < SUSPICIOUSLY_LARGE && was_alive(f, o, around));
            (ignored && f.syn_ack.count == 1 && f.c.resets == 0 && company).then_some(Picture::Cookie)
        }
        _ if o.data_ignored && (o.on_time || around.at_server()) => Some(Picture::Data),
        n if n == 1 || !o.on_time || !answered_in_vain(f, o) || lacks_syn_acks(f) => {
            // A listener that defers asks once. A connection that was not asked again may have been, and the capture has
            // lost it; one that was asked twice may have answered, and the path has lost it: more of them must say so
            // than there are that were asked once.
            let asked_once = around.scene.stuck.iter().filter(|s| s.repeats == 1 && !s.data_ignored).count();
            let asked_again = others().filter(|s| s.shows_a_full_queue()).count();
            let company = others().any(|s| s.data_ignored) || asked_again > asked_once;
            // Who waited for a second or two says nothing of a listener that asks later.
            let asked_first = f.syn_ack.first().zip(o.repeats.first());
            let soon = asked_first.is_some_and(|(first, r)| r.at.time - first.at.time <= FIRST_REPEAT);
            let patient = if soon { around.listener.patient } else { 0 };
            let undeferred = around.listener.undeferred + patient > asked_once as u64;
            let alone_at_server = around.at_server() && undeferred;
            (o.on_time && (company || alone_at_server)).then_some(Picture::Once)
        }
        _ => Some(Picture::Silent),
    }
}

/// Whether the client had answered a SYN-ACK that came again, or had sent data, before another one came. A listener that
/// defers repeats it as often as it draws no answer.
fn answered_in_vain(f: &ConnectionFacts, o: &IgnoredAck<'_>) -> bool {
    let (u, Some(last)) = (&f.unanswered, o.repeats.last()) else { return false };
    let spoke = u.retransmits > 0 && u.first < last.at;
    let acks = u.acks.saturating_sub(f.c.keepalives);
    let answered = acks >= 2 || (acks == 1 && u.last_ack < last.at);
    spoke || answered
}

/// Whether the time between SYN-ACKs grew faster than the timer's does, which doubles: some in between did not get here.
fn lacks_syn_acks(f: &ConnectionFacts) -> bool {
    let all: Vec<&Sent> = f.syn_ack.iter().collect();
    all.windows(3).any(|three| {
        let [a, b, c] = three else { return false };
        a.syns == c.syns && c.at.time - b.at.time > growth(a.at.time, b.at.time)
    })
}

/// Whether neither the server nor the path was dead while this client was ignored: the listener answered others, or the
/// clocks of those that were ignored with it say that their handshakes were cookies.
fn was_alive(f: &ConnectionFacts, o: &IgnoredAck<'_>, around: &DetectContext<'_>) -> bool {
    let meanwhile = around.listener.inside(o.ignored);
    let answered = meanwhile.served + meanwhile.answered + meanwhile.refused > 0;
    let others = around.others_stuck(f, o.during, SAME_TIME).filter_map(|s| s.lag);
    let lags: Vec<i64> = others.chain(cookie_lag(f)).collect();
    let clear = lags.iter().filter(|&&lag| lag >= CLEAR_LAG).count();
    answered || (clear >= 2 && clear * 2 > lags.len() && lags.iter().all(|lag| COOKIE_LAG.contains(lag)))
}

/// From when to when the client was surely ignored, if its segments reached the server: from when the final ACK, or the
/// first retransmission, would have been taken until the last segment of which it is known that it was not. That is the
/// answer to the last SYN-ACK but one, or the last retransmission but one, for the last may be the one that was taken.
///
/// The waits double (the first two may be alike: a tail loss probe), so of the time from the first retransmission to the
/// last of n the last but one comes after the part (2^(n-2) - 1) / (2^(n-1) - 1). Where the capture missed some it is
/// sooner than that.
fn surely_ignored(f: &ConnectionFacts, ack: FinalAck, repeats: &[&Sent]) -> Interval {
    let (u, turnaround) = (&f.unanswered, server_turnaround(f));
    let waits = (1_i64 << u.retransmits.clamp(2, 16) >> 2) - 1;
    let part = Span((u.last.time - u.first.time).0 / (2 * waits + 1) * waits);
    // What was acknowledged at last may be the first transmission, which has waited in a buffer.
    let not_late =
        f.progress.is_none() || (f.timestamps() && !was_late(f)) || u.last.time - u.first.time >= LASTING;
    let spoke = (u.retransmits > 1 && not_late).then(|| u.first.time + (part - TURNAROUND));
    let answered = repeats.len().checked_sub(2).map(|n| repeats[n].at.time);
    let from = if repeats.is_empty() { u.first.time } else { ack.at.time };
    Interval { from: from + turnaround, to: spoke.max(answered).unwrap_or(from) }
}

/// How far the SYN-ACK's TSval lagged the server's clock, of which a tick is taken to be a millisecond (Linux 4.13 and
/// later): `cookie_init_timestamp` puts the options into its low six bits and never lets it run ahead.
fn cookie_lag(f: &ConnectionFacts) -> Option<i64> {
    let (syn_ack, progress) = (f.syn_ack.first()?, f.progress?);
    let ticks = i64::from(progress.tsval.wrapping_sub(syn_ack.tsval) as i32);
    let elapsed = (progress.at.time - syn_ack.at.time).0 / 1_000_000;
    f.timestamps().then_some(ticks - elapsed)
}

fn write(f: &ConnectionFacts, o: &IgnoredAck<'_>, picture: Picture, around: &DetectContext<'_>) -> Draft {
    let repeats = o.repeats.len() as u64;
    let retransmits = u64::from(f.unanswered.retransmits);
    let lasted = o.during.to - o.during.from;
    let mut d = Draft::about(
        f,
        Kind::AcceptQueueOverflow,
        (o.ack.at, "final ACK: the client considers the connection open"),
    );
    if let Some(syn) = f.syn.first() {
        d.shows(syn.at, "SYN");
    }
    if let Some(syn_ack) = f.syn_ack.first() {
        d.shows(syn_ack.at, "SYN-ACK");
        for (n, again) in o.repeats.iter().enumerate() {
            d.shows(again.at, format!("SYN-ACK again ({})", n + 1));
        }
    }
    if retransmits > 0 {
        d.shows(f.unanswered.first, "the client sends its data again: no acknowledgment");
        d.shows(f.unanswered.last, format!("retransmission {retransmits}: still no acknowledgment"));
    }
    let end = match (&f.progress, &f.s.reset) {
        (Some(p), _) => {
            d.shows(p.at, "first reply of the server: it has the connection now");
            d.severity = Severity::Warning;
            format!("the server took the connection {lasted} after the final ACK")
        }
        (None, Some(r)) => {
            d.shows(r.at, "RST: the server had already discarded the half-open connection");
            d.severity = Severity::Critical;
            format!("the server reset it after {lasted}")
        }
        (None, None) => {
            d.severity = Severity::Critical;
            format!("the server sent nothing else in the {lasted} until the capture ended")
        }
    };
    let how = match picture {
        Picture::Cookie => format!(
            "the server, which had used a syncookie, ignored {} of its data",
            count(retransmits, "retransmission")
        ),
        _ if retransmits > 0 => format!(
            "the server repeated its SYN-ACK {} and ignored {} of data",
            times(repeats),
            count(retransmits, "retransmission")
        ),
        _ => format!("the server repeated its SYN-ACK {}", times(repeats)),
    };
    d.summary = format!("{} completed the handshake, but {how}; {end}.", f.client.socket());
    d.cause = cause(
        "The listener's accept queue was full, so the kernel silently dropped the final ACK.",
        if picture == Picture::Cookie {
            &["tcp_get_cookie_sock", "tcp_v4_syn_recv_sock"]
        } else {
            &["tcp_check_req", "tcp_v4_syn_recv_sock", "reqsk_timer_handler"]
        },
        &["TcpExtListenOverflows", "TcpExtListenDrops"],
        &["net.core.somaxconn", "net.ipv4.tcp_abort_on_overflow", "net.ipv4.tcp_synack_retries"],
    );
    d.measure("syn_ack_retransmits", repeats)
        .measure("client_retransmits", retransmits)
        .measure_span("stuck_s", lasted)
        .measure("served", f.progress.is_some())
        .measure("syncookie", picture == Picture::Cookie)
        .measure("read_by_server_tcp", o.read_by_tcp);
    judge(&mut d, f, o, picture, around);
    d.next_steps = next::full_accept_queue(f.server);
    d
}

/// Certainty and what else it could be, by where the capture was taken.
fn judge(
    d: &mut Draft,
    f: &ConnectionFacts,
    o: &IgnoredAck<'_>,
    picture: Picture,
    around: &DetectContext<'_>,
) {
    let firewall = "A firewall between this capture point and the server's TCP drops the client's segments.";
    let lost = path_loss::SEGMENTS_LOST;
    let company: Vec<&Stuck> = around
        .others_stuck(f, o.during, SAME_TIME)
        .filter(|s| picture == Picture::Cookie || s.agrees_with_a_full_queue())
        .collect();
    let others_got_through = |ignored: Interval| {
        let meanwhile = around.listener.inside(ignored);
        meanwhile.answered + meanwhile.served > 0
    };
    let path_works = others_got_through(o.ignored)
        || o.outlasts_buffers(f)
        || company.iter().any(|s| s.lasting || others_got_through(s.ignored))
        || (picture == Picture::Cookie && was_alive(f, o, around));
    if o.read_by_tcp && o.data_ignored && !around.world.damaged {
        d.confirmed("a repeated SYN-ACK echoes the timestamp of a segment that the server ignored, so its TCP had read it");
        return;
    }
    match around.view.vantage {
        Vantage::Server if picture != Picture::Cookie || around.view.on_host || path_works => {
            d.probable("the capture was taken at the server: the final ACK arrived there and was ignored");
            d.or(
                firewall,
                "It would have to pass the SYN and drop everything after it. Then ListenOverflows does not grow.",
            );
            d.or_unless_arrived(lost, "The capture was taken at the server, so every segment would have to be lost inside the host.", IfArrived::Falls);
        }
        Vantage::Client | Vantage::Between | Vantage::Unknown if company.len() >= 2 && path_works => {
            d.probable(format!(
                "{} of this listener hung at the same time",
                count(company.len() as u64 + 1, "connection")
            ));
            d.or_unless_arrived(
                lost,
                "Loss would not hit all connections of one listener at once and spare their SYNs.",
                IfArrived::Falls,
            );
            d.or(
                firewall,
                "It would have to pass the SYN and drop everything after it. Then ListenOverflows does not grow.",
            );
        }
        vantage => {
            d.possible(match vantage {
                Vantage::Server => "the server answered no other client in that time, so it may have been down",
                _ if company.len() >= 2 => {
                    "the capture was not taken at the server, and no other client got through in that time: the path may \
                     have been blocked"
                }
                _ => "the capture was not taken at the server, so it cannot show whether the final ACK arrived there",
            });
            d.or_unless_arrived(
                lost,
                "Then every ACK of the client was lost, but none of the server's SYN-ACKs.",
                IfArrived::Falls,
            );
            d.or(
                firewall,
                "It would have to pass the SYN and drop everything after it. Then ListenOverflows does not grow.",
            );
        }
    }
    if picture == Picture::Once {
        d.or(
            "The listener uses TCP_DEFER_ACCEPT: it waits for data and repeats its SYN-ACK once.",
            "Other silent connections of this listener drew no repetition, or the server ignored them for longer.",
        );
    }
}
