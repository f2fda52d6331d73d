//! Times as people read them.

/// A moment, in the one zone that everybody can compare: `2026-09-20 09:14:07 UTC`.
#[must_use]
pub fn moment(time_s: u64) -> String {
    let (days, second) = (time_s / 86_400, time_s % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// A span of time.
#[must_use]
pub fn span(seconds: u64) -> String {
    match seconds {
        0..60 => "less than a minute".to_owned(),
        60..120 => "1 minute".to_owned(),
        120..7200 => format!("{} minutes", seconds / 60),
        7200..172_800 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// Days since 1970 as a date of the Gregorian calendar, counted in years that begin in March.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_dates() {
        assert_eq!(moment(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(moment(951_827_696), "2000-02-29 12:34:56 UTC");
        assert_eq!(moment(1_800_000_000), "2027-01-15 08:00:00 UTC");
        assert_eq!(moment(4_102_444_799), "2099-12-31 23:59:59 UTC");
    }

    #[test]
    fn spans_are_rounded_down() {
        assert_eq!(span(59), "less than a minute");
        assert_eq!(span(60), "1 minute");
        assert_eq!(span(1800), "30 minutes");
        assert_eq!(span(7200), "2 hours");
        assert_eq!(span(3 * 86_400), "3 days");
    }
}
