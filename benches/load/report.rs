//! The table, the ratios against their bars, and the JSON.

use serde_json::{Value, json};

use super::client::Outcome;

pub struct Report {
    rows: Vec<Value>,
    misses: Vec<String>,
}

impl Report {
    pub fn new() -> Self {
        println!("{:<44} {:>4} {:>10} {:>10} {:>10}  ratio", "what", "C", "per s", "p50 ms", "p99 ms");
        Self { rows: Vec::new(), misses: Vec::new() }
    }

    /// The ceiling a figure is held against, and the least share of it at C=16 that we promise.
    fn bar(name: &str) -> Option<(&'static str, f64)> {
        match name {
            "create user" => Some(("ceiling: hyper + writer", 0.35)),
            "get by id" => Some(("ceiling: bare hyper", 0.35)),
            n if n.starts_with("look-up") => Some(("ceiling: bare hyper", 0.25)),
            _ => None,
        }
    }

    /// `beside`: the ceiling as it was in the same moments.
    pub fn rate(&mut self, name: &str, c: usize, out: &Outcome, beside: Option<&Outcome>) {
        let rate = out.per_second();
        let best = beside.map(Outcome::per_second);
        let ratio = Self::bar(name).zip(best).map(|((ceiling, least), best)| {
            let ratio = rate / best;
            if c == 16 {
                self.hold(
                    &format!("{name}, C=16, share of {ceiling}"),
                    ratio,
                    ratio >= least,
                    &format!("at least {least}"),
                );
            }
            ratio
        });
        let (p50, p99) = (out.quantile_us(0.5) / 1e3, out.quantile_us(0.99) / 1e3);
        let shown = ratio.zip(best).map_or_else(String::new, |(r, b)| format!("{r:.2} of {b:.0}"));
        println!("{name:<44} {c:>4} {rate:>10.0} {p50:>10.3} {p99:>10.3}  {shown}");
        self.rows.push(json!({"name": name, "connections": c, "per_second": rate, "p50_ms": p50, "p99_ms": p99, "ceiling_per_second": best, "ratio": ratio}));
    }

    pub fn latency(&mut self, name: &str, out: &Outcome) {
        self.rate(name, 1, out, None);
    }

    /// The ratio of two medians; at most 1.3.
    pub fn growth(&mut self, name: &str, large: &Outcome, small: &Outcome) {
        self.growth_at(name, 0.5, large, small);
    }

    /// The same of another quantile.
    pub fn growth_at(&mut self, name: &str, quantile: f64, large: &Outcome, small: &Outcome) {
        let ratio = large.quantile_us(quantile) / small.quantile_us(quantile).max(1.0);
        println!("{name:<44} {:>4} {:>10} {:>10} {:>10}  {ratio:.2}", "", "", "", "");
        self.hold(name, ratio, ratio <= 1.3, "at most 1.3");
        self.rows.push(json!({"name": name, "ratio": ratio}));
    }

    pub fn figure(&mut self, name: &str, value: f64, what: &str) {
        println!("{name:<44} {:>4} {value:>10.3}  {what}", "");
        let good = if name.starts_with("syncs") { value <= 0.2 } else { value == 0.0 };
        self.hold(name, value, good, if name.starts_with("syncs") { "at most 0.2" } else { "none" });
        self.rows.push(json!({"name": name, "value": value, "what": what}));
    }

    pub fn note(&mut self, text: &str) {
        println!("{text}");
        self.rows.push(json!({"note": text}));
    }

    fn hold(&mut self, name: &str, value: f64, good: bool, bar: &str) {
        if !good {
            self.misses.push(format!("{name}: {value:.3}, wanted {bar}"));
        }
    }

    /// Writes the JSON; says which bars were missed. Measures, never judges by exit code: `LOAD_STRICT=1` does.
    pub fn finish(self) {
        let file = std::env::var("LOAD_JSON")
            .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/target/load.json").to_owned());
        let document = json!({"rows": self.rows, "misses": self.misses});
        if let Err(error) = std::fs::write(&file, format!("{document:#}\n")) {
            eprintln!("cannot write {file}: {error}");
        }
        if self.misses.is_empty() {
            println!("every bar is met; {file}");
            return;
        }
        for miss in &self.misses {
            println!("MISSED {miss}");
        }
        if std::env::var_os("LOAD_STRICT").is_some() {
            std::process::exit(1);
        }
    }
}
