//! Settings read from the packets of the recordings, held against those that their hosts had.

mod support;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::truth::Truth;
use support::{analyze, testdata};
use synscope::model::Inferred;

/// The known settings of the hosts of one recording.
struct Known<'a> {
    name: &'a str,
    document: &'a Value,
    /// Clients whose segments a program made up, clocks and all, are no hosts.
    made_up: bool,
}

impl Known<'_> {
    fn is_server(&self, host: &str) -> bool {
        let ip =
            |name: &str| name.parse::<SocketAddr>().map(|s| s.ip()).or_else(|_| name.parse::<IpAddr>()).ok();
        let connections = self.document["connections"].as_array().into_iter().flatten();
        connections.filter_map(|c| c["server"].as_str()).any(|server| ip(server) == ip(host))
    }

    /// The setting of the host's end, as its kernel printed it.
    fn sysctl(&self, host: &str, name: &str) -> Option<i64> {
        let role = if self.is_server(host) { "server" } else { "client" };
        self.document["sysctls"][role][name].as_str()?.parse().ok()
    }

    /// What the application set on its sockets; where that is not written down, it is not known.
    fn keepalive(&self, name: &str) -> Option<i64> {
        self.document["keepalive"][name].as_i64()
    }

    fn listener(&self, host: &str) -> Option<&Value> {
        self.document["listeners"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|l| l["server"].as_str() == Some(host))
    }

    /// Linux version of the servers, and where none other is named of the clients.
    fn kernel(&self) -> (u32, u32) {
        let text = self.document["kernel"].as_str().expect("the kernel is known");
        let mut numbers = text.split(['.', '-']).map_while(|n| n.parse().ok());
        (numbers.next().expect("a major version"), numbers.next().expect("a minor version"))
    }

    /// Why an inferred value cannot be, if so.
    fn contradiction(&self, i: &Inferred) -> Option<String> {
        let (host, value) = (i.host.to_string(), &i.value);
        let host = host.as_str();
        let (least, most) = (value["least"].as_f64(), value["most"].as_f64());
        let differs = |known: Option<i64>, wrong: &dyn Fn(f64) -> bool| {
            known.filter(|known| wrong(*known as f64)).map(|known| format!("it was {known}"))
        };
        match i.setting.as_str() {
            "net.ipv4.ip_default_ttl" => (value != 64).then(|| "it was 64".to_owned()),
            "net.ipv4.tcp_synack_retries" | "net.ipv4.tcp_syncookies" => {
                differs(self.sysctl(host, &i.setting), &|known| value.as_f64() != Some(known))
            }
            "net.ipv4.tcp_syn_linear_timeouts" => {
                differs(self.sysctl(host, &i.setting), &|known| value.as_f64() != Some(known))
            }
            "net.ipv4.tcp_syn_retries" => {
                differs(self.sysctl(host, &i.setting), &|known| least > Some(known))
            }
            "net.ipv4.tcp_fin_timeout (s)" => {
                let known = self.sysctl(host, "net.ipv4.tcp_fin_timeout");
                // Old kernels let an orphan live up to a fifth of a minute longer, none lets it go sooner.
                let lives = |t: f64| if t <= 60.0 { t } else { 2.0 * (t - 60.0) };
                differs(known, &|known| {
                    most.is_some_and(|most| lives(known) > most && known > most) || least > Some(known)
                })
            }
            "net.ipv4.tcp_keepalive_time, or TCP_KEEPIDLE (s)" => {
                differs(self.keepalive("keepalive_time_s"), &|known| value.as_f64() != Some(known))
            }
            "net.ipv4.tcp_keepalive_intvl, or TCP_KEEPINTVL (s)" => {
                differs(self.keepalive("keepalive_intvl_s"), &|known| value.as_f64() != Some(known))
            }
            "accept queue limit (listen backlog, net.core.somaxconn)" => {
                let known = self.listener(host)?["effective_backlog"].as_i64();
                differs(known, &|known| {
                    value.as_f64().is_some_and(|value| value != known) || least > Some(known)
                })
            }
            "SYN queue limit" => {
                // Before 4.4 the table has the next power of two.
                let known = self.listener(host)?["effective_backlog"].as_i64();
                differs(known, &|known| value.as_f64() > Some(2.0 * known.max(8.0) + 1.0))
            }
            "TCP_DEFER_ACCEPT (s)" => {
                let options = self.listener(host)?["options"].to_string();
                let set = options
                    .split(|c: char| !c.is_ascii_digit())
                    .filter_map(|n| n.parse::<f64>().ok())
                    .next_back();
                match set {
                    Some(set) => (least > Some(set) || most < Some(set)).then(|| format!("it was {set}")),
                    None => Some("the listener did not defer".to_owned()),
                }
            }
            "timestamp clock (ticks per second)" => (value != 1_000 && !self.made_up)
                .then(|| "every kernel of the recordings counts milliseconds".to_owned()),
            "timestamp offset" => self.offset(i),
            "kernel (hint)" => self.hint(i),
            _ => None,
        }
    }

    /// Which version runs on the host: the clients of old servers run another one, which is not always written down.
    fn version_of(&self, host: &str) -> Option<(u32, u32)> {
        (self.is_server(host) || self.kernel() >= (6, 0)).then(|| self.kernel())
    }

    fn offset(&self, i: &Inferred) -> Option<String> {
        let version = self.version_of(&i.host.to_string())?;
        let plain =
            self.sysctl(&i.host.to_string(), "net.ipv4.tcp_timestamps") == Some(2) || version < (4, 10);
        let says = i.value.as_str().expect("a word");
        let is_none = says.starts_with("none");
        match (plain, version) {
            (true, _) => (!is_none).then(|| "there was none".to_owned()),
            (false, (6, 18)) => {
                (says != "per connection").then(|| "there was one for each connection".to_owned())
            }
            (false, _) => {
                (says == "none" || says == "per connection").then(|| "there was one for each peer".to_owned())
            }
        }
    }

    fn hint(&self, i: &Inferred) -> Option<String> {
        let version = self.version_of(&i.host.to_string())?;
        let says = i.value.as_str().expect("words");
        if self.sysctl(&i.host.to_string(), "net.ipv4.tcp_timestamps") == Some(2)
            && says.contains("tcp_timestamps=2")
        {
            return None;
        }
        let numbers: Vec<(u32, u32)> = says
            .split(|c: char| !c.is_ascii_digit() && c != '.')
            .filter_map(|n| n.split_once('.').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?))))
            .collect();
        let fits = match (says.contains("older"), says.contains(" to "), &numbers[..]) {
            (true, _, [most, ..]) => version <= *most,
            (_, true, [least, most, ..]) => (*least..=*most).contains(&version),
            (_, _, [least, ..]) => version >= *least,
            _ => false,
        };
        (!fits).then(|| format!("it was {version:?}"))
    }
}

/// Every truth file below a folder.
fn truth_files(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("the folder is there").map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
        .into_iter()
        .flat_map(|path| match path.is_dir() {
            true => truth_files(&path),
            false if path.to_string_lossy().ends_with("truth.json") => vec![path],
            false => Vec::new(),
        })
        .collect()
}

/// Holds all that is inferred from a folder's captures against the truth, and returns which settings were inferred.
fn check(folder: &Path) -> std::collections::BTreeMap<String, usize> {
    let mut wrong = Vec::new();
    let mut read = std::collections::BTreeMap::new();
    for path in truth_files(folder) {
        let truth = Truth::read(&path);
        let made_up = truth.document()["description"].as_str().is_some_and(|text| text.contains("hand-made"));
        let known = Known { name: &truth.name, document: truth.document(), made_up };
        for capture in &truth.captures {
            let report = analyze(&path.with_file_name(&capture.file)).report;
            for i in &report.inferred {
                *read.entry(i.setting.clone()).or_default() += 1;
                if let Some(why) = known.contradiction(i) {
                    wrong.push(format!(
                        "{} {}: {} {} = {} ({}): {why}",
                        known.name, capture.key, i.host, i.setting, i.value, i.from
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    read
}

#[test]
fn settings_read_from_recorded_cases_are_those_of_their_hosts() {
    let read = check(&testdata());
    for setting in [
        "net.ipv4.ip_default_ttl",
        "accept queue limit (listen backlog, net.core.somaxconn)",
        "TCP_DEFER_ACCEPT (s)",
        "net.ipv4.tcp_keepalive_time, or TCP_KEEPIDLE (s)",
        "net.ipv4.tcp_keepalive_intvl, or TCP_KEEPINTVL (s)",
        "net.ipv4.tcp_fin_timeout (s)",
        "net.ipv4.tcp_synack_retries",
    ] {
        assert!(read.contains_key(setting), "{setting} is read from none: {read:?}");
    }
}

#[test]
fn a_timeout_has_bounds_on_both_sides_where_orphans_were_probed() {
    for key in ["client", "server"] {
        let path = support::Case::named("fin-wait2-expired/probed-orphans").capture(key);
        let inferred = analyze(&path).report.inferred;
        let found = inferred.iter().find(|i| i.setting == "net.ipv4.tcp_fin_timeout (s)");
        let value = &found.expect("it is read").value;
        let bound = |name: &str| value[name].as_f64().expect("a bound");
        assert!((3.5..5.0).contains(&bound("least")), "{key}: {value}");
        assert!((5.0..6.5).contains(&bound("most")), "{key}: {value}");
    }
}

#[test]
#[ignore = "needs recordings: SYNSCOPE_CAPTURES=FOLDER cargo test recordings -- --ignored"]
fn settings_read_from_recordings_of_current_kernels_are_those_of_their_hosts() {
    println!("{:#?}", check(&support::outside("SYNSCOPE_CAPTURES", "captures")));
}

#[test]
#[ignore = "needs recordings: SYNSCOPE_CAPTURES_OLD=FOLDER cargo test recordings -- --ignored"]
fn settings_read_from_recordings_of_old_kernels_are_those_of_their_hosts() {
    println!("{:#?}", check(&support::outside("SYNSCOPE_CAPTURES_OLD", "captures-oldkernel")));
}
