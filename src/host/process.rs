//! The processes behind listening sockets, as far as this process may look at them (proc(5)).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The process that holds a listening socket; of several the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketOwner {
    /// Its number.
    pub pid: u32,
    /// Its name, at most 15 characters.
    pub name: String,
    /// The unit of systemd, or else the last part of its control group.
    pub unit: Option<String>,
    /// `R`, `S`, `D`, `T` (stopped), `Z`.
    pub state: char,
}

impl SocketOwner {
    fn read(proc: &Path, pid: u32) -> Option<SocketOwner> {
        let folder = proc.join(pid.to_string());
        let (name, state) = name_and_state(&fs::read_to_string(folder.join("stat")).ok()?)?;
        let unit = fs::read_to_string(folder.join("cgroup")).ok().and_then(|text| unit(&text));
        Some(SocketOwner { pid, name, unit, state })
    }

    /// The same process now; `None` if it has ended.
    pub fn renew(&self, proc: &Path) -> Option<SocketOwner> {
        let stat = fs::read_to_string(proc.join(self.pid.to_string()).join("stat")).ok()?;
        let (name, state) = name_and_state(&stat)?;
        (name == self.name).then(|| SocketOwner { state, ..self.clone() })
    }

    /// `nginx, pid 812, nginx.service`, and its state if it is not running.
    pub fn describe(&self) -> String {
        let unit = self.unit.as_ref().map(|unit| format!(", {unit}")).unwrap_or_default();
        let state = match self.state {
            'T' | 't' => ", stopped by a signal (T)",
            'D' => ", waiting for a device (D)",
            'Z' | 'X' => ", dead (Z)",
            _ => "",
        };
        format!("{}, pid {}{unit}{state}", self.name, self.pid)
    }
}

/// Name and state in `/proc/PID/stat`: `812 (nginx) S 1 ...`. A name may hold parentheses itself.
fn name_and_state(stat: &str) -> Option<(String, char)> {
    let (before, after) = stat.rsplit_once(')')?;
    let (_, name) = before.split_once('(')?;
    Some((name.to_owned(), after.trim_start().chars().next()?))
}

/// `0::/system.slice/nginx.service` is `nginx.service`.
fn unit(cgroup: &str) -> Option<String> {
    let paths = || cgroup.lines().filter_map(|line| line.rsplit(':').next());
    let parts = paths().flat_map(|path| path.rsplit('/'));
    let is_unit = |part: &&str| part.ends_with(".service") || part.ends_with(".scope");
    let last = || paths().filter_map(|path| path.rsplit('/').next()).find(|part| !part.is_empty());
    parts.filter(|part| !part.is_empty()).find(is_unit).or_else(last).map(str::to_owned)
}

/// The holders of the sockets, by inode, among the processes that this one may read.
pub fn holders(proc: &Path) -> BTreeMap<u64, SocketOwner> {
    let mut found = BTreeMap::new();
    let numbers = fs::read_dir(proc).into_iter().flatten().flatten();
    let mut pids: Vec<u32> = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    for pid in pids {
        let mut holder = None;
        for entry in fs::read_dir(proc.join(pid.to_string()).join("fd")).into_iter().flatten().flatten() {
            let Ok(target) = fs::read_link(entry.path()) else { continue };
            let inode = target
                .to_str()
                .and_then(|target| target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
            let Some(inode) = inode else { continue };
            if holder.is_none() {
                holder = SocketOwner::read(proc, pid);
            }
            if let Some(holder) = &holder {
                found.entry(inode).or_insert_with(|| holder.clone());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_units_are_read() {
        let stat = name_and_state("812 (a (b) c) T 1 812 812 0");
        assert_eq!(stat, Some(("a (b) c".to_owned(), 'T')));
        assert_eq!(name_and_state("812"), None);
        assert_eq!(unit("0::/system.slice/nginx.service\n").as_deref(), Some("nginx.service"));
        assert_eq!(unit("12:cpu:/docker/4711\n0::/\n").as_deref(), Some("4711"));
        assert_eq!(unit("0::/\n"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_holds_its_own_socket() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let inode = {
            use std::os::fd::AsRawFd;
            let link = fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
            link.to_str()
                .unwrap()
                .trim_start_matches("socket:[")
                .trim_end_matches(']')
                .parse::<u64>()
                .unwrap()
        };
        let found = holders(Path::new("/proc"));
        let holder = &found[&inode];
        assert_eq!(holder.pid, std::process::id());
        assert!(holder.describe().contains(&format!("pid {}", holder.pid)));
        assert_eq!(holder.renew(Path::new("/proc")).map(|now| now.pid), Some(holder.pid));
    }
}
