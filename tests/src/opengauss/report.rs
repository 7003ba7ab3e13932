//! How the tools speak: on standard output, at once, with their prefix.

use std::{
    io::{Write as _, stdout},
    time::{SystemTime, UNIX_EPOCH},
};

/// Prints as it is, and at once: a reader may watch the dots.
pub fn raw(text: &str) {
    let mut out = stdout().lock();
    // A reader that has gone is no reason to stop half-way.
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

/// Prints a message behind gs_ctl's prefix. The caller writes the end of line, or leaves it out
/// where gs_ctl does.
pub fn log(text: &str) {
    raw(&format!("[{}][{}][][gs_ctl]: {text}", timestamp(), std::process::id()));
}

/// `2026-01-31 23:59:59.001`, in universal time.
fn timestamp() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (seconds, millis) = (since.as_secs(), since.subsec_millis());
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{millis:03}")
}

/// The date of a number of days since 1970, by going through the years: few runs live long enough
/// for that to matter.
fn date(mut days: u64) -> (u64, u64, u64) {
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= months[month] {
        days -= months[month];
        month += 1;
    }
    (year, month as u64 + 1, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(date(19_782), (2024, 2, 29));
        assert_eq!(date(20_779), (2026, 11, 22));
        assert_eq!(date(11_016), (2000, 2, 29));
    }
}
