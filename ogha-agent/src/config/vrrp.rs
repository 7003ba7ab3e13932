//! `[instance.vrrp]`

use std::time::Duration;

use ogha_common::units::Centis;
use toml::de::DeValue;

use super::{
    reader::{Read, Reader},
    types::{Transport, Vrrp},
    value,
};

/// Version 3 carries 12 bits of centiseconds (RFC 9568 section 5.2.7).
const LONGEST_V3: Duration = Duration::from_millis(40_950);
/// Version 2 carries 8 bits of seconds (RFC 3768 section 5.3.7); [`Centis`] ends before them.
const LONGEST_V2: Duration = Duration::from_secs(40);

pub(super) fn read(table: &Reader<'_>) -> Read<Vrrp> {
    let version = table.or("version", 3, |value| value::integer(value, 2..=3, "3"));
    let advert_interval = version.and_then(|version| interval(table, version));
    let preempt = table.or("preempt", false, value::boolean);
    let words = [("unicast", Transport::Unicast), ("multicast", Transport::Multicast)];
    let transport = table.or("transport", Transport::Unicast, |value| value::word(value, &words));
    let auth_pass = table.maybe("auth_pass", auth_pass);
    if version == Some(3) && table.has("auth_pass") {
        let what = "version 3 has no password (RFC 9568 section 9); remove it, or set version = 2";
        table.problem("auth_pass", what);
    }
    table.finish();
    Some(Vrrp {
        version: version?,
        advert_interval: advert_interval?,
        preempt: preempt?,
        transport: transport?,
        auth_pass: auth_pass?,
    })
}

fn interval(table: &Reader<'_>, version: u8) -> Read<Centis> {
    let key = "advert_interval";
    let (default, least, most, step) = match version {
        2 => (Duration::from_secs(1), Duration::from_secs(1), LONGEST_V2, Duration::from_secs(1)),
        _ => {
            let centi = Duration::from_millis(10);
            (Duration::from_millis(100), centi, LONGEST_V3, centi)
        }
    };
    let chosen = table.or(key, default, |value| {
        value::duration(value, least..=most)
            .map_err(|what| format!("{what} (VRRP version {version})"))
    })?;
    let centis =
        Centis::from_duration(chosen).filter(|_| chosen.as_nanos().is_multiple_of(step.as_nanos()));
    if centis.is_none() {
        table.problem(
            key,
            format!(
                "VRRP version {version} counts in steps of {}; choose a multiple, not {}",
                value::show(step),
                value::show(chosen)
            ),
        );
    }
    centis
}

/// Simple text authentication has 8 octets (RFC 2338 section 5.3.10).
fn auth_pass(value: &DeValue<'_>) -> Result<String, String> {
    let text = value::text(value, "\"1111\"")?;
    if text.len() > 8 || !text.chars().all(|c| c.is_ascii_graphic()) {
        return Err("does not fit; use 1 to 8 ASCII letters, digits or signs".to_owned());
    }
    Ok(text.to_owned())
}
