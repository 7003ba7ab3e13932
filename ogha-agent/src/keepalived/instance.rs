//! A `vrrp_instance`, as far as ogha has the same.

use std::{net::IpAddr, time::Duration};

use super::{
    parse::{Error, Statement},
    reasons::{self, Left},
};

/// What `ogha.toml` needs to know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Instance {
    pub name: String,
    pub interface: Option<String>,
    pub vrid: u8,
    pub priority: u8,
    pub version: u8,
    pub advert_interval: Duration,
    pub preempt: bool,
    pub auth_pass: Option<String>,
    pub address: Option<IpAddr>,
    /// Empty: adverts are multicast.
    pub peers: Vec<IpAddr>,
    /// With their prefixes.
    pub addresses: Vec<String>,
    pub left: Vec<Left>,
    /// What was changed on the way, for people.
    pub remarks: Vec<String>,
}

/// `vrrp_version` of `global_defs`; keepalived's own default is 2.
pub(super) fn default_version(statements: &[Statement]) -> Result<u8, Error> {
    let globals = statements.iter().filter(|statement| statement.key() == "global_defs");
    let mut inner = globals.flat_map(Statement::inner);
    inner.find(|inner| inner.key() == "vrrp_version").map_or(Ok(2), version)
}

fn version(statement: &Statement) -> Result<u8, Error> {
    number(statement, 2, 3)
}

fn number(statement: &Statement, least: u8, most: u8) -> Result<u8, Error> {
    let word = statement.argument()?;
    let number = word.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| {
        statement
            .error(format!("{} {word} is not a number from {least} to {most}", statement.key()))
    })
}

pub(super) fn read(statement: &Statement, version: u8) -> Result<Instance, Error> {
    let name = statement.argument()?;
    if statement.block.is_none() {
        return Err(statement.error(format!("vrrp_instance {name} has no block")));
    }
    let mut instance = Instance {
        name: name.to_owned(),
        interface: None,
        vrid: 0,
        priority: 100,
        version,
        advert_interval: Duration::from_secs(1),
        preempt: true,
        auth_pass: None,
        address: None,
        peers: Vec::new(),
        addresses: Vec::new(),
        left: Vec::new(),
        remarks: Vec::new(),
    };
    // An address may be on a device that is named further down.
    let is_address = |inner: &&Statement| inner.key().starts_with("virtual_ipaddress");
    for inner in statement.inner().iter().filter(|inner| !is_address(inner)) {
        instance.take(inner)?;
    }
    for inner in statement.inner().iter().filter(is_address) {
        instance.take_addresses(inner)?;
    }
    if instance.vrid == 0 {
        return Err(statement.error(format!("vrrp_instance {name} has no virtual_router_id")));
    }
    if instance.addresses.is_empty() {
        return Err(statement.error(format!("vrrp_instance {name} has no virtual_ipaddress")));
    }
    instance.fit();
    Ok(instance)
}

impl Instance {
    fn take(&mut self, statement: &Statement) -> Result<(), Error> {
        match statement.key() {
            "interface" => self.interface = Some(statement.argument()?.to_owned()),
            "virtual_router_id" => self.vrid = number(statement, 1, 255)?,
            "priority" => self.priority = number(statement, 1, 255)?,
            "version" => self.version = version(statement)?,
            "advert_int" => self.advert_interval = interval(statement)?,
            "nopreempt" => self.preempt = false,
            "preempt" => self.preempt = true,
            "unicast_src_ip" => self.address = Some(address(statement, statement.argument()?)?),
            "unicast_peer" => {
                for peer in statement.inner() {
                    self.peers.push(address(peer, peer.key())?);
                }
            }
            "authentication" => self.take_authentication(statement)?,
            _ => self.left.push(reasons::of_instance(statement)),
        }
        Ok(())
    }

    fn take_authentication(&mut self, statement: &Statement) -> Result<(), Error> {
        for inner in statement.inner() {
            match inner.key() {
                // keepalived itself reads no more than eight.
                "auth_pass" => self.auth_pass = Some(inner.argument()?.chars().take(8).collect()),
                "auth_type" if inner.argument()? == "PASS" => {}
                _ => self.left.push(Left {
                    line: inner.line,
                    what: inner.words.join(" "),
                    why: "ogha knows the plain password of version 2 alone; its probes are \
                          authenticated by the cluster's key",
                }),
            }
        }
        Ok(())
    }

    fn take_addresses(&mut self, statement: &Statement) -> Result<(), Error> {
        for inner in statement.inner() {
            let (text, prefix) = match inner.key().split_once('/') {
                Some((text, prefix)) => (text, Some(prefix)),
                None => (inner.key(), None),
            };
            let address = address(inner, text)?;
            let longest = if address.is_ipv6() { 128 } else { 32 };
            let prefix = match prefix {
                None => longest,
                Some(digits) => {
                    let prefix = digits.parse().ok().filter(|p| (1..=longest).contains(p));
                    prefix.ok_or_else(|| {
                        inner.error(format!("prefix {digits} is not a number from 1 to {longest}"))
                    })?
                }
            };
            let mut words = inner.arguments().iter();
            let mut elsewhere = None;
            while let Some(word) = words.next() {
                if word == "dev" {
                    let device = words.next().ok_or_else(|| inner.error("dev names no device"))?;
                    elsewhere = Some(device).filter(|_| {
                        *self.interface.get_or_insert_with(|| device.clone()) != *device
                    });
                }
            }
            if elsewhere.is_some() {
                self.left.push(Left {
                    line: inner.line,
                    what: inner.words.join(" "),
                    why: "an instance has one interface; write another [[instance]] for this address",
                });
            } else {
                self.addresses.push(format!("{address}/{prefix}"));
            }
        }
        Ok(())
    }

    /// What keepalived allows and ogha does not.
    fn fit(&mut self) {
        if self.priority == 255 {
            self.priority = 254;
            self.remarks.push(
                "priority was 255, the address owner's, which a virtual address has \
                               not in ogha"
                    .to_owned(),
            );
        }
        let step = if self.version == 2 { 1000 } else { 10 };
        let most = if self.version == 2 { 40_000 } else { 40_950 };
        let asked = self.advert_interval.as_millis() as u64;
        let fitted = (asked.div_ceil(step) * step).clamp(step, most);
        if fitted != asked {
            self.advert_interval = Duration::from_millis(fitted);
            self.remarks.push(format!(
                "advert_int was {asked} ms, which VRRP version {} cannot express",
                self.version
            ));
        }
        let password = self.auth_pass.take();
        let plain = |text: &String| !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
        self.auth_pass = password.filter(|text| self.version == 2 && plain(text));
        let name: String =
            self.name.chars().take(64).map(|c| if ok(c) { c } else { '_' }).collect();
        if name != self.name {
            self.remarks.push(format!("the name was {:?}", self.name));
            self.name = name;
        }
    }
}

/// What the name of an instance may hold.
fn ok(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

fn address(statement: &Statement, text: &str) -> Result<IpAddr, Error> {
    text.parse().map_err(|_| statement.error(format!("{text:?} is no address")))
}

/// Seconds, with fractions in version 3.
fn interval(statement: &Statement) -> Result<Duration, Error> {
    let word = statement.argument()?;
    let seconds = word.parse::<f64>().ok().filter(|seconds| (0.01..=255.0).contains(seconds));
    let millis = seconds.map(|seconds| Duration::from_millis((seconds * 1000.0).round() as u64));
    millis.ok_or_else(|| {
        statement.error(format!("advert_int {word} is not a number of seconds from 0.01 to 255"))
    })
}
