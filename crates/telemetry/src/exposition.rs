//! Prometheus' text format, version 0.0.4.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::catalogue::{FAMILIES, Family};
use crate::metric::{BOUNDS_US, Histogram};

/// Metrics as they are read, sorted into their families.
#[derive(Debug, Default)]
pub struct Exposition {
    // Samples of one family stand together, as the format asks.
    families: BTreeMap<&'static str, String>,
}

impl Exposition {
    /// One sample. Label values are identifiers and words of our own.
    pub fn sample(
        &mut self,
        family: &'static Family,
        labels: &[(&'static str, &str)],
        value: impl Into<Value>,
    ) {
        self.line(family, "", labels, value.into());
    }

    /// The samples of a histogram; nothing if it saw nothing.
    pub(crate) fn histogram(
        &mut self,
        family: &'static Family,
        labels: &[(&'static str, &str)],
        histogram: &Histogram,
    ) {
        let (counts, sum_us) = histogram.read();
        let total: u64 = counts.iter().sum();
        if total == 0 {
            return;
        }
        let mut up_to = 0;
        for (bound_us, count) in BOUNDS_US.iter().zip(&counts) {
            up_to += count;
            let bound = Value::Micros(*bound_us).to_string();
            let with_bound: Vec<_> = labels.iter().copied().chain([("le", &*bound)]).collect();
            self.line(family, "_bucket", &with_bound, Value::Whole(up_to));
        }
        let all: Vec<_> = labels.iter().copied().chain([("le", "+Inf")]).collect();
        self.line(family, "_bucket", &all, Value::Whole(total));
        self.line(family, "_sum", labels, Value::Micros(sum_us));
        self.line(family, "_count", labels, Value::Whole(total));
    }

    fn line(
        &mut self,
        family: &'static Family,
        suffix: &str,
        labels: &[(&'static str, &str)],
        value: Value,
    ) {
        let text = self.families.entry(family.name).or_default();
        text.push_str(family.name);
        text.push_str(suffix);
        for (at, (name, value)) in labels.iter().enumerate() {
            let before = if at == 0 { '{' } else { ',' };
            let _ = write!(text, "{before}{name}=\"{}\"", escaped(value));
        }
        if !labels.is_empty() {
            text.push('}');
        }
        let _ = writeln!(text, " {value}");
    }

    /// The whole text, families in the order of the catalogue.
    pub(crate) fn finish(self) -> String {
        let mut whole = String::new();
        for family in FAMILIES {
            if let Some(samples) = self.families.get(family.name) {
                let (name, kind) = (family.name, family.kind.as_str());
                let _ = writeln!(whole, "# HELP {name} {}\n# TYPE {name} {kind}", family.help);
                whole.push_str(samples);
            }
        }
        whole
    }
}

/// A value of a sample.
#[derive(Clone, Copy, Debug)]
pub enum Value {
    /// A number of things.
    Whole(u64),
    /// A time in microseconds, written in seconds.
    Micros(u64),
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<std::time::Duration> for Value {
    fn from(time: std::time::Duration) -> Self {
        Self::Micros(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Whole(value) => write!(f, "{value}"),
            Self::Micros(us) => write!(f, "{}.{:06}", us / 1_000_000, us % 1_000_000),
        }
    }
}

/// Text format, escaping: backslash, quotation mark and line feed.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::catalogue::families;

    #[test]
    fn samples_of_a_family_stand_together() {
        let mut out = Exposition::default();
        out.sample(&families::CONNECTIONS, &[("listener", "gateway")], 3);
        out.sample(&families::READY, &[], 1);
        out.sample(&families::CONNECTIONS, &[("listener", "a\"\\\n")], 4);
        let text = out.finish();
        assert_eq!(
            text,
            "# HELP attorn_connections Open connections\n# TYPE attorn_connections gauge\n\
             attorn_connections{listener=\"gateway\"} 3\n\
             attorn_connections{listener=\"a\\\"\\\\\\n\"} 4\n\
             # HELP attorn_ready 1 while `/readyz` answers 200\n# TYPE attorn_ready gauge\n\
             attorn_ready 1\n"
        );
    }

    #[test]
    fn buckets_add_up() {
        let histogram = Histogram::default();
        histogram.observe(Duration::from_micros(30));
        histogram.observe(Duration::from_micros(60));
        let mut out = Exposition::default();
        out.histogram(&families::OWN_SECONDS, &[], &histogram);
        let text = out.finish();
        assert!(text.contains("attorn_gateway_seconds_bucket{le=\"0.000025\"} 0\n"), "{text}");
        assert!(text.contains("attorn_gateway_seconds_bucket{le=\"0.000050\"} 1\n"), "{text}");
        assert!(text.contains("attorn_gateway_seconds_bucket{le=\"+Inf\"} 2\n"), "{text}");
        assert!(text.contains("attorn_gateway_seconds_sum 0.000090\n"), "{text}");
    }
}
