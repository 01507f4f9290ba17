//! Cron schedules as robfig/cron v3 reads them, which is what Argo CD's sync windows are written in. Works on wall
//! clock times: which zone they are of is the caller's affair. Pure.
use jiff::civil::{Date, DateTime};

/// Years searched before a schedule counts as one that never comes (robfig/cron).
const YEARS_MAX: i16 = 5;

/// A schedule: the minutes of a wall clock at which something begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    minute: u64,
    hour: u64,
    day: u64,
    month: u64,
    weekday: u64,
    /// Day of month or of week is `*` or `?`: both must match. Otherwise one is enough.
    both_days: bool,
    /// `CRON_TZ=` or `TZ=`, as it was written.
    zone: Option<String>,
}

struct Field {
    min: u32,
    max: u32,
    names: &'static [&'static str],
}

const MINUTE: Field = Field { min: 0, max: 59, names: &[] };
const HOUR: Field = Field { min: 0, max: 23, names: &[] };
const DAY: Field = Field { min: 1, max: 31, names: &[] };
const MONTH: Field = Field {
    min: 1,
    max: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const WEEKDAY: Field = Field { min: 0, max: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

impl Field {
    /// The bits of a list of ranges, and whether one of them is a star.
    fn bits(&self, text: &str) -> Result<(u64, bool), String> {
        let (mut bits, mut star) = (0, false);
        for range in text.split(',').filter(|range| !range.is_empty()) {
            let (more, starred) = self.range(range)?;
            bits |= more;
            star |= starred;
        }
        Ok((bits, star))
    }

    /// `*`, `?`, `N`, `N-M`, each with `/step`; `N/step` runs to the end of the field.
    fn range(&self, text: &str) -> Result<(u64, bool), String> {
        let (span, step) = match text.split_once('/') {
            None => (text, None),
            Some((_, step)) if step.contains('/') => return Err(format!("too many slashes: {text}")),
            Some((span, step)) => (span, Some(number(step)?)),
        };
        let every = matches!(span.split('-').next(), Some("*" | "?"));
        let (low, high) = if every {
            (self.min, self.max)
        } else {
            match span.split('-').collect::<Vec<_>>()[..] {
                [only] if step.is_some() => (self.value(only)?, self.max),
                [only] => (self.value(only)?, self.value(only)?),
                [low, high] => (self.value(low)?, self.value(high)?),
                _ => return Err(format!("too many hyphens: {text}")),
            }
        };
        if low < self.min {
            return Err(format!("beginning of range ({low}) below minimum ({}): {text}", self.min));
        }
        if high > self.max {
            return Err(format!("end of range ({high}) above maximum ({}): {text}", self.max));
        }
        if low > high {
            return Err(format!("beginning of range ({low}) beyond end of range ({high}): {text}"));
        }
        let by = match step {
            Some(0) => return Err(format!("step of range should be a positive number: {text}")),
            step => step.unwrap_or(1),
        };
        let bits = (low..=high).step_by(usize::try_from(by).unwrap_or(usize::MAX)).fold(0, |bits, one| bits | 1 << one);
        Ok((bits, every && by == 1))
    }

    fn value(&self, text: &str) -> Result<u32, String> {
        let named = self.names.iter().zip(self.min..).find(|(name, _)| name.eq_ignore_ascii_case(text));
        named.map_or_else(|| number(text), |(_, value)| Ok(value))
    }
}

fn number(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("failed to parse int from {text}"))
}

impl Schedule {
    /// Five fields (minute, hour, day of month, month, day of week), after an optional `CRON_TZ=zone`. This is all
    /// that Argo CD takes in a sync window.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (zone, fields) = split_zone(text)?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(match fields.first() {
                None => "empty spec string".to_owned(),
                Some(word) if word.starts_with('@') => format!("descriptors are not accepted here: {word}"),
                Some(_) => format!("expected exactly 5 fields, found {}: {text}", fields.len()),
            });
        };
        let ((day, every_day), (weekday, every_weekday)) = (DAY.bits(day)?, WEEKDAY.bits(weekday)?);
        Ok(Self {
            minute: MINUTE.bits(minute)?.0,
            hour: HOUR.bits(hour)?.0,
            day,
            month: MONTH.bits(month)?.0,
            weekday,
            both_days: every_day || every_weekday,
            zone,
        })
    }

    /// As [`Schedule::parse`], or a descriptor such as `@hourly` (robfig/cron's `ParseStandard`). `@every` is not
    /// taken: it has no times of its own.
    pub fn parse_standard(text: &str) -> Result<Self, String> {
        let (zone, word) = split_zone(text)?;
        let fields = match word {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            _ if word.starts_with('@') => return Err(format!("unrecognized descriptor: {word}")),
            _ => return Self::parse(text),
        };
        Ok(Self { zone, ..Self::parse(fields)? })
    }

    /// The zone written into the schedule.
    pub fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    /// Whether something begins in this minute.
    pub fn matches(&self, at: DateTime) -> bool {
        has(self.minute, at.minute()) && has(self.hour, at.hour()) && has(self.month, at.month()) && self.on(at.date())
    }

    fn on(&self, date: Date) -> bool {
        let (day, weekday) = (has(self.day, date.day()), has(self.weekday, date.weekday().to_sunday_zero_offset()));
        if self.both_days { day && weekday } else { day || weekday }
    }

    /// The first time later than `after`.
    pub fn next(&self, after: DateTime) -> Option<DateTime> {
        let first = minute_of(after).checked_add(jiff::Span::new().minutes(1)).ok()?;
        let (mut date, mut from) = (first.date(), (first.hour(), first.minute()));
        while date.year() <= after.year().saturating_add(YEARS_MAX) {
            if !has(self.month, date.month()) {
                date = date.last_of_month().tomorrow().ok()?;
            } else {
                let hours = (from.0..24).filter(|hour| has(self.hour, *hour));
                let minutes = |hour| if hour == from.0 { from.1 } else { 0 };
                let mut times = hours.filter_map(|hour| Some((hour, first_from(self.minute, minutes(hour))?)));
                if self.on(date)
                    && let Some((hour, minute)) = times.next()
                {
                    return Some(date.at(hour, minute, 0, 0));
                }
                date = date.tomorrow().ok()?;
            }
            from = (0, 0);
        }
        None
    }

    /// The last time not later than `at`.
    pub fn previous(&self, at: DateTime) -> Option<DateTime> {
        let (mut date, mut to) = (at.date(), (at.hour(), at.minute()));
        while date.year() >= at.year().saturating_sub(YEARS_MAX) {
            if !has(self.month, date.month()) {
                date = date.first_of_month().yesterday().ok()?;
            } else {
                let hours = (0..=to.0).rev().filter(|hour| has(self.hour, *hour));
                let minutes = |hour| if hour == to.0 { to.1 } else { 59 };
                let mut times = hours.filter_map(|hour| Some((hour, last_to(self.minute, minutes(hour))?)));
                if self.on(date)
                    && let Some((hour, minute)) = times.next()
                {
                    return Some(date.at(hour, minute, 0, 0));
                }
                date = date.yesterday().ok()?;
            }
            to = (23, 59);
        }
        None
    }
}

fn split_zone(text: &str) -> Result<(Option<String>, &str), String> {
    let Some(rest) = text.strip_prefix("CRON_TZ=").or_else(|| text.strip_prefix("TZ=")) else {
        return Ok((None, text.trim()));
    };
    let (zone, rest) = rest.split_once(' ').ok_or_else(|| format!("no fields after the time zone: {text}"))?;
    Ok((Some(zone.to_owned()), rest.trim()))
}

fn has(bits: u64, value: i8) -> bool {
    bits >> value & 1 == 1
}

fn first_from(bits: u64, from: i8) -> Option<i8> {
    (from..60).find(|minute| has(bits, *minute))
}

fn last_to(bits: u64, to: i8) -> Option<i8> {
    (0..=to).rev().find(|minute| has(bits, *minute))
}

fn minute_of(at: DateTime) -> DateTime {
    at.date().at(at.hour(), at.minute(), 0, 0)
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan as _;
    use jiff::civil::datetime;
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> DateTime {
        text.parse().unwrap()
    }

    /// Answers of robfig/cron v3's own rules (doc.go, spec.go).
    #[test]
    fn the_next_time_is_robfigs() {
        let cases = [
            ("0/15 * * * *", "2026-01-01T09:00", "2026-01-01T09:15"),
            ("5/15 * * * *", "2026-01-01T09:50:30", "2026-01-01T10:05"),
            ("20-35/15 * * * *", "2026-01-01T09:20", "2026-01-01T09:35"),
            ("* * * * *", "2026-01-01T09:00:59", "2026-01-01T09:01"),
            ("0 22 * * mon-FRI", "2026-01-02T22:00", "2026-01-05T22:00"),
            ("0 0 31 * *", "2026-01-31T00:00", "2026-03-31T00:00"),
            ("0 0 29 feb ?", "2026-01-01T00:00", "2028-02-29T00:00"),
            // Neither day is a star: one is enough (the 13th, or a Friday).
            ("0 0 13 * 5", "2026-02-01T00:00", "2026-02-06T00:00"),
            // A star with a step of more than one is no star.
            ("0 0 */10 * 0", "2026-03-01T00:00", "2026-03-08T00:00"),
            // A star on either side: both must match.
            ("0 0 13 * *", "2026-02-01T00:00", "2026-02-13T00:00"),
            ("0 0 * * 5", "2026-02-01T00:00", "2026-02-06T00:00"),
            ("30 1,13 * 12 *", "2026-01-01T00:00", "2026-12-01T01:30"),
        ];
        for (schedule, after, want) in cases {
            assert_eq!(Schedule::parse(schedule).unwrap().next(at(after)), Some(at(want)), "{schedule} {after}");
        }
        let never = Schedule::parse("0 0 30 2 *").unwrap();
        assert_eq!((never.next(at("2026-01-01T00:00")), never.previous(at("2026-01-01T00:00"))), (None, None));
    }

    #[test]
    fn what_robfig_refuses_is_refused() {
        for (schedule, words) in [
            ("", "empty spec"),
            ("* * * *", "expected exactly 5 fields, found 4"),
            ("60 * * * *", "above maximum"),
            ("* * 0 * *", "below minimum"),
            ("5-1 * * * *", "beyond end"),
            ("*/0 * * * *", "positive"),
            ("1/2/3 * * * *", "too many slashes"),
            ("1-2-3 * * * *", "too many hyphens"),
            ("-1 * * * *", "failed to parse int"),
            ("* * * * 7", "above maximum"),
            ("mon * * * *", "failed to parse int from mon"),
            ("@hourly", "descriptors"),
            ("CRON_TZ=UTC", "no fields"),
        ] {
            let problem = Schedule::parse(schedule).unwrap_err();
            assert!(problem.contains(words), "{schedule}: {problem}");
        }
        assert_eq!(Schedule::parse_standard("@every 1h"), Err("unrecognized descriptor: @every 1h".to_owned()));
    }

    #[test]
    fn descriptors_stand_for_fields() {
        for (word, fields) in [("@hourly", "0 * * * *"), ("@weekly", "0 0 * * sun"), ("@annually", "0 0 1 1 *")] {
            assert_eq!(Schedule::parse_standard(word), Schedule::parse(fields));
        }
        let zoned = Schedule::parse_standard("CRON_TZ=Asia/Tokyo @daily").unwrap();
        assert_eq!(
            (zoned.zone(), zoned.next(at("2026-01-01T00:00"))),
            (Some("Asia/Tokyo"), Some(at("2026-01-02T00:00")))
        );
    }

    fn field(min: u32, max: u32) -> impl Strategy<Value = String> {
        prop_oneof![
            3 => Just("*".to_owned()),
            1 => (2..7_u32).prop_map(|step| format!("*/{step}")),
            2 => (min..=max).prop_map(|one| one.to_string()),
            1 => (min..=max, min..=max).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
            1 => (min..=max, 2..9_u32).prop_map(|(from, step)| format!("{from}/{step}")),
            1 => (min..=max, min..=max).prop_map(|(a, b)| format!("{a},{b}")),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        /// Walking minute by minute finds the same.
        #[test]
        fn next_and_previous_agree_with_every_single_minute(
            fields in (field(0, 59), field(0, 23), field(1, 31), field(0, 6)), start in 0..525_600_i64, second in 0..60_i8,
        ) {
            let (minute, hour, day, weekday) = fields;
            let schedule = Schedule::parse(&format!("{minute} {hour} {day} * {weekday}")).unwrap();
            let minute = datetime(2026, 1, 1, 0, 0, 0, 0) + start.minutes();
            let now = minute + i64::from(second).seconds();
            let walked = (1..=20_160_i64).map(|step| minute + step.minutes()).find(|at| schedule.matches(*at));
            match walked {
                Some(walked) => prop_assert_eq!(schedule.next(now), Some(walked)),
                None => prop_assert!(schedule.next(now).is_none_or(|next| next > minute + 20_160_i64.minutes())),
            }
            let walked = (0..=20_160_i64).map(|step| minute - step.minutes()).find(|at| schedule.matches(*at));
            match walked {
                Some(walked) => prop_assert_eq!(schedule.previous(now), Some(walked)),
                None => prop_assert!(schedule.previous(now).is_none_or(|last| last < minute - 20_160_i64.minutes())),
            }
        }
    }
}
