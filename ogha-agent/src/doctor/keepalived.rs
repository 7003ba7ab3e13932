//! A keepalived that was left on this host: two that move one address make two holders of it, and two
//! virtual routers of one number and link hear each other.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use super::Findings;
use crate::config::Instance;

const PROGRAM: &str = "keepalived";
const FILE: &str = "/etc/keepalived/keepalived.conf";

pub(super) fn examine(findings: &mut Findings, instance: &Instance) {
    let running = running(Path::new("/proc"));
    let mut files = vec![PathBuf::from(FILE)];
    files.extend(running.iter().filter(|file| *file != Path::new(FILE)).cloned());
    let vips: Vec<_> = instance.virtual_addresses.iter().map(|vip| vip.address).collect();
    for file in files {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let Some(what) = shared(&text, &vips, instance.vrid.get(), &instance.interface) else {
            continue;
        };
        let file_shown = file.display();
        if running.contains(&file) {
            findings.fail(format!(
                "keepalived runs here, and {file_shown} names {what} too: stop and disable it"
            ));
        } else {
            findings.warn(format!("{file_shown} names {what} too: disable keepalived"));
        }
    }
}

/// What a configuration of keepalived has in common with an instance.
fn shared(text: &str, vips: &[IpAddr], vrid: u8, interface: &str) -> Option<String> {
    let plain: Vec<_> =
        text.lines().map(|line| line.split(['#', '!']).next().unwrap_or("")).collect();
    let words: Vec<_> = plain
        .iter()
        .flat_map(|line| line.split(|c: char| c.is_whitespace() || matches!(c, '{' | '}')))
        .filter(|word| !word.is_empty())
        .collect();
    let address = |word: &str| word.split('/').next().and_then(|word| word.parse::<IpAddr>().ok());
    if let Some(vip) = vips.iter().find(|vip| words.iter().any(|word| address(word) == Some(**vip)))
    {
        return Some(vip.to_string());
    }
    let setting =
        |name: &str, value: &str| words.windows(2).any(|pair| pair[0] == name && pair[1] == value);
    let both = setting("virtual_router_id", &vrid.to_string()) && setting("interface", interface);
    both.then(|| format!("virtual router {vrid} on {interface}"))
}

/// The configurations of the keepalived processes of this network namespace.
fn running(proc: &Path) -> Vec<PathBuf> {
    let own = fs::read_link(proc.join("self/ns/net")).ok();
    let processes = fs::read_dir(proc).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found = Vec::new();
    for process in processes {
        let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
        if name.trim() != PROGRAM || fs::read_link(process.join("ns/net")).ok() != own {
            continue;
        }
        let arguments = fs::read(process.join("cmdline")).unwrap_or_default();
        let file = file_of(&String::from_utf8_lossy(&arguments));
        if !found.contains(&file) {
            found.push(file);
        }
    }
    found
}

/// The configuration by the arguments, which zeros part: `-f FILE`, `-fFILE`, `--use-file=FILE`.
fn file_of(arguments: &str) -> PathBuf {
    let words: Vec<_> = arguments.split('\0').collect();
    let next = |at: usize| words.get(at + 1).copied();
    let named = words.iter().enumerate().find_map(|(at, word)| match *word {
        "-f" | "--use-file" => next(at),
        word => word.strip_prefix("--use-file=").or_else(|| word.strip_prefix("-f")),
    });
    named.filter(|file| !file.is_empty()).unwrap_or(FILE).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
vrrp_instance VI_1 {
    interface eth0
    virtual_router_id 59   # ours
    # 192.0.2.99
    virtual_ipaddress {
        192.0.2.10/24 dev eth0
    }
}
";

    #[test]
    fn what_both_would_move_is_named() {
        let shared =
            |vip: &str, vrid, interface| shared(TEXT, &[vip.parse().unwrap()], vrid, interface);
        assert_eq!(shared("192.0.2.10", 7, "eth9").as_deref(), Some("192.0.2.10"));
        let router = Some("virtual router 59 on eth0");
        assert_eq!(shared("192.0.2.11", 59, "eth0").as_deref(), router);
        assert_eq!(shared("192.0.2.11", 59, "eth1"), None, "another link");
        assert_eq!(shared("192.0.2.99", 5, "eth0"), None, "a comment");
    }

    #[test]
    fn its_configuration_is_known_by_its_arguments() {
        let file = |words: &[&str]| file_of(&words.join("\0")).display().to_string();
        assert_eq!(file(&["keepalived", "--dont-fork"]), FILE);
        assert_eq!(file(&["keepalived", "-f", "/etc/k.conf"]), "/etc/k.conf");
        assert_eq!(file(&["keepalived", "-f/etc/k.conf"]), "/etc/k.conf");
        assert_eq!(file(&["keepalived", "--use-file=/etc/k.conf", ""]), "/etc/k.conf");
    }

    #[test]
    fn only_processes_of_this_network_count() {
        let dir = tempfile::tempdir().unwrap();
        for (pid, network, file) in
            [("self", "net:[1]", ""), ("7", "net:[1]", "/a"), ("8", "net:[2]", "/b")]
        {
            let process = dir.path().join(pid);
            fs::create_dir_all(process.join("ns")).unwrap();
            std::os::unix::fs::symlink(network, process.join("ns/net")).unwrap();
            fs::write(process.join("comm"), if file.is_empty() { "x\n" } else { "keepalived\n" })
                .unwrap();
            fs::write(process.join("cmdline"), format!("keepalived\0-f\0{file}\0")).unwrap();
        }
        assert_eq!(running(dir.path()), [PathBuf::from("/a")]);
    }
}
