//! Parsers of single values: TOML in, a typed value or "what is wrong; what to do" out.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::RangeInclusive,
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use toml::de::DeValue;

use super::schema;
use crate::database::Unit;

type Parsed<T> = Result<T, String>;

/// `integer` -> `an integer`.
pub(super) fn article(kind: &str) -> String {
    let article = if kind.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {kind}")
}

/// The message for a value of the wrong type.
pub(super) fn not_a(expected: &str, value: &DeValue<'_>, example: &str) -> String {
    format!("must be {expected}, not {}; write for example {example}", article(value.type_str()))
}

/// A string that is not empty.
pub(super) fn text<'v>(value: &'v DeValue<'_>, example: &str) -> Parsed<&'v str> {
    let text = value.as_str().ok_or_else(|| not_a("a string", value, example))?;
    if text.is_empty() {
        return Err(format!("is empty; write for example {example}"));
    }
    Ok(text)
}

/// `true` or `false`.
pub(super) fn boolean(value: &DeValue<'_>) -> Parsed<bool> {
    value.as_bool().ok_or_else(|| not_a("true or false", value, "true"))
}

/// A name of a node or an instance: it is shown in tables and logs, so no blanks.
pub(super) fn name(value: &DeValue<'_>) -> Parsed<String> {
    let text = text(value, "\"node1\"")?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.len() > 64 || !text.chars().all(allowed) {
        return Err(format!(
            "{text:?} is no name; use at most 64 letters, digits, hyphens, underscores and dots"
        ));
    }
    Ok(text.to_owned())
}

/// The name of an interface: what the kernel takes (`dev_valid_name`), at most 15 octets.
pub(super) fn interface(value: &DeValue<'_>) -> Parsed<String> {
    let text = text(value, "\"eth0\"")?;
    let refused = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':');
    if text.len() > 15 || matches!(text, "." | "..") || text.contains(refused) {
        return Err(format!("{text:?} is no interface name; `ip link` shows the names"));
    }
    Ok(text.to_owned())
}

/// The name of a system user that may own a database.
pub(super) fn user(value: &DeValue<'_>) -> Parsed<String> {
    let text = text(value, "\"omm\"")?;
    if text == "root" {
        return Err("database servers refuse to run as root; name the user that owns the data \
                    directory"
            .to_owned());
    }
    let refused = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':');
    if text.len() > 32 || text.starts_with('-') || text.contains(refused) {
        return Err(format!("{text:?} is no user name; `id` shows the name of a user"));
    }
    Ok(text.to_owned())
}

/// A service of systemd.
pub(super) fn unit(value: &DeValue<'_>) -> Parsed<Unit> {
    let text = text(value, "\"postgresql@15-main\"")?;
    Unit::parse(text).ok_or_else(|| {
        format!(
            "{text:?} is no name of a service; `systemctl list-units --type=service` shows them"
        )
    })
}

/// The name of a database.
pub(super) fn dbname(value: &DeValue<'_>) -> Parsed<String> {
    let text = text(value, "\"postgres\"")?;
    if text.len() > 63 || text.contains(char::is_control) {
        return Err(format!("{text:?} is no database name; use at most 63 octets"));
    }
    Ok(text.to_owned())
}

/// A path from the root.
pub(super) fn path(value: &DeValue<'_>) -> Parsed<PathBuf> {
    let text = text(value, "\"/var/lib/ogha\"")?;
    if text.contains('\0') {
        return Err(format!("{text:?} holds a NUL; remove it"));
    }
    if !text.starts_with('/') {
        return Err(format!("{text:?} is a relative path; write the whole path, from /"));
    }
    Ok(PathBuf::from(text))
}

/// A whole number in a range.
pub(super) fn integer<T>(value: &DeValue<'_>, range: RangeInclusive<T>, example: &str) -> Parsed<T>
where
    T: TryFrom<i64> + PartialOrd + fmt::Display,
{
    let number = value.as_integer().ok_or_else(|| not_a("an integer", value, example))?;
    let parsed = i64::from_str_radix(number.as_str(), number.radix()).ok();
    parsed.and_then(|parsed| T::try_from(parsed).ok()).filter(|n| range.contains(n)).ok_or_else(
        || format!("{number} is out of range; choose {} to {}", range.start(), range.end()),
    )
}

/// A TCP or UDP port.
pub(super) fn port(value: &DeValue<'_>) -> Parsed<u16> {
    integer(value, 1..=u16::MAX, "26000")
}

/// One word of a list, or an error that names the nearest.
pub(super) fn word<T: Copy>(value: &DeValue<'_>, words: &[(&'static str, T)]) -> Parsed<T> {
    let quoted: Vec<_> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
    let first = quoted.first().map_or("", String::as_str);
    let given = value.as_str().ok_or_else(|| not_a("a string", value, first))?;
    if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == given) {
        return Ok(*meaning);
    }
    match schema::nearest(given, words.iter().map(|(word, _)| *word)) {
        Some((near, distance)) if schema::close(given, distance) => {
            Err(format!("{given:?} is unknown; did you mean {near:?}?"))
        }
        _ => Err(format!("{given:?} is unknown; choose {}", quoted.join(" or "))),
    }
}

const DURATIONS: [(&str, u64); 5] = [
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("min", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Powers of 1024, as PostgreSQL has them.
const SIZES: [(&str, u64); 5] =
    [("B", 1), ("kB", 1 << 10), ("MB", 1 << 20), ("GB", 1 << 30), ("TB", 1 << 40)];

/// A whole number with its unit, in the smallest unit.
fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text.get(..digits)?.parse().ok()?;
    let unit = text.get(digits..)?.trim_start();
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*factor)
}

/// A duration within a range: "10ms", "1s".
pub(super) fn duration(value: &DeValue<'_>, range: RangeInclusive<Duration>) -> Parsed<Duration> {
    let text = value.as_str().ok_or_else(|| not_a("a duration in quotes", value, "\"10ms\""))?;
    let nanos = quantity(text, &DURATIONS).ok_or_else(|| {
        format!(
            "{text:?} is no duration; write a whole number and us, ms, s, min or h, as in \"10ms\""
        )
    })?;
    let duration = Duration::from_nanos(nanos);
    if !range.contains(&duration) {
        let (least, most) = (show(*range.start()), show(*range.end()));
        return Err(format!("{text:?} is out of range; choose {least} to {most}"));
    }
    Ok(duration)
}

/// A duration as the file would have it.
pub(super) fn show(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let fits = |unit: &&(&str, u64)| nanos.is_multiple_of(u128::from(unit.1));
    let (unit, factor) = DURATIONS.iter().rev().find(fits).unwrap_or(&DURATIONS[0]);
    if nanos == 0 { "0ms".to_owned() } else { format!("{}{unit}", nanos / u128::from(*factor)) }
}

/// A size in octets: "0B", "16MB".
pub(super) fn size(value: &DeValue<'_>) -> Parsed<u64> {
    let text = value.as_str().ok_or_else(|| not_a("a size in quotes", value, "\"16MB\""))?;
    quantity(text, &SIZES).ok_or_else(|| {
        format!("{text:?} is no size; write a whole number and B, kB, MB, GB or TB, as in \"16MB\"")
    })
}

/// An address that one host may own, and that means the same on each.
pub(super) fn address(text: &str) -> Parsed<IpAddr> {
    let Ok(address) = IpAddr::from_str(text) else {
        let zone = if text.contains('%') { ", without a zone" } else { "" };
        return Err(format!(
            "{text:?} is no address; write one such as 192.168.1.10 or fd00::10{zone}"
        ));
    };
    let kind = match address {
        IpAddr::V4(address) => kind_v4(address),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(mapped) => return Err(format!("{text} is IPv4 in IPv6's form; write {mapped}")),
            None => kind_v6(address),
        },
    };
    match kind {
        None => Ok(address),
        Some(kind) => {
            Err(format!("{address} is {} address; choose one that a host may own", article(kind)))
        }
    }
}

/// What keeps a host from owning the address.
fn kind_v4(address: Ipv4Addr) -> Option<&'static str> {
    match address.octets() {
        [0, ..] => Some("unspecified"),
        [127, ..] => Some("loopback"),
        [224..=239, ..] => Some("multicast"),
        [240..=255, ..] => Some("reserved or broadcast"),
        _ => None,
    }
}

fn kind_v6(address: Ipv6Addr) -> Option<&'static str> {
    match address {
        Ipv6Addr::UNSPECIFIED => Some("unspecified"),
        Ipv6Addr::LOCALHOST => Some("loopback"),
        _ if address.is_multicast() => Some("multicast"),
        _ => None,
    }
}

/// A node's own address. A link-local one is none: without its zone nobody knows the link, and the
/// zone has another name on each host.
pub(super) fn own_address(value: &DeValue<'_>) -> Parsed<IpAddr> {
    let address = address(text(value, "\"192.168.1.12\"")?)?;
    if matches!(address, IpAddr::V6(address) if address.is_unicast_link_local()) {
        return Err(format!(
            "{address} is a link-local address, which means nothing without its link; write a \
             global or unique local one, such as fd00::12"
        ));
    }
    Ok(address)
}
