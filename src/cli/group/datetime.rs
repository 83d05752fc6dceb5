//! A time as people write it, in ms since 1970: RFC 3339, also without a zone (then UTC), or the number itself.

/// The time in ms since 1970; `None` for what is none.
pub fn parse(text: &str) -> Option<i64> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok();
    }
    let (date, time) = text.split_once(['T', 't', ' ']).unwrap_or((text, "00:00:00"));
    let mut parts = date.split('-');
    let (year, month, day) = (number(parts.next()?, 4)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    if parts.next().is_some() || !(1..=12).contains(&month) || !(1..=days_in(year, month)).contains(&day) {
        return None;
    }
    let (clock, zone_minutes) = zone(time)?;
    let day_ms = clock_ms(clock)?;
    Some(days(year, month, day) * 86_400_000 + day_ms - zone_minutes * 60_000)
}

fn number(text: &str, digits: usize) -> Option<i64> {
    let sound = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    sound.then(|| text.parse().ok())?
}

/// The clock's text, and how many minutes its zone is ahead of UTC.
fn zone(time: &str) -> Option<(&str, i64)> {
    if let Some(clock) = time.strip_suffix(['Z', 'z']) {
        return Some((clock, 0));
    }
    let Some(at) = time.rfind(['+', '-']) else { return Some((time, 0)) };
    let (clock, offset) = time.split_at(at);
    let digits = offset[1..].replace(':', "");
    let minutes = number(digits.get(..2)?, 2)? * 60 + if digits.len() == 2 { 0 } else { number(&digits[2..], 2)? };
    Some((clock, if offset.starts_with('-') { -minutes } else { minutes }))
}

fn clock_ms(clock: &str) -> Option<i64> {
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut parts = clock.split(':');
    let (hour, minute) = (number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let second = parts.next().map_or(Some(0), |second| number(second, 2))?;
    let sound = parts.next().is_none() && hour < 24 && minute < 60 && second < 61 && !fraction.is_empty();
    if !sound || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let ms: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    Some(((hour * 60 + minute) * 60 + second) * 1000 + ms)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970, by the calendar that is in use now.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let whole_years: i64 = if year >= 1970 {
        (1970..year).map(|year| 365 + i64::from(is_leap(year))).sum()
    } else {
        -(year..1970).map(|year| 365 + i64::from(is_leap(year))).sum::<i64>()
    };
    whole_years + (1..month).map(|month| days_in(year, month)).sum::<i64>() + day - 1
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn times_are_read() {
        assert_eq!(parse("1700000000000"), Some(1_700_000_000_000));
        assert_eq!(parse("1970-01-01"), Some(0));
        assert_eq!(parse("2023-11-14T22:13:20Z"), Some(1_700_000_000_000));
        assert_eq!(parse("2023-11-14T22:13:20.5"), Some(1_700_000_000_500));
        assert_eq!(parse("2023-11-14 23:13:20+01:00"), Some(1_700_000_000_000));
        assert_eq!(parse("2023-11-14T17:13:20.000-0500"), Some(1_700_000_000_000));
        assert_eq!(parse("2024-02-29T00:00"), Some(1_709_164_800_000));
        for wrong in
            ["", "yesterday", "2023-02-29", "2023-13-01", "2023-1-1", "2023-11-14T25:00", "2023-11-14T22:13:20.Z"]
        {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
