//! An [`Evaluation`] for people.

use crate::cli::output::{Page, clean, shorten};
use crate::edge::evaluate::{Evaluation, Measured, MetricsReport, SetReport, Summary};
use crate::metrics::PositiveSet;

/// Width of the tables; they fit an ordinary terminal.
const WIDTH: usize = 80;
/// Columns before the numbers of a row: two of indent and the longest name.
const INDENT: usize = 2;
/// Narrowest column of numbers: "99.9-99.9" and a space.
const NARROWEST: usize = 10;

/// The in-distribution set, then one table per out-of-distribution set, then the means.
pub fn show(page: &mut Page, evaluation: &Evaluation) {
    show_set(page, "in-dist", &evaluation.in_distribution);
    page.blank();
    page.paragraph(&explanation(evaluation));
    for (index, set) in evaluation.out_of_distribution.iter().enumerate() {
        page.blank();
        page.heading(&format!("{}, {} samples", shorten(&set.name, 60), set.samples));
        let rows = evaluation.scores.iter().filter_map(|score| {
            let of = score.sets.get(index)?;
            Some((score.score.as_str(), &of.metrics, of.flagged))
        });
        show_table(page, evaluation, &rows.collect::<Vec<_>>());
        page.blank();
        show_summaries(page, set);
    }
    let means = evaluation.scores.iter().filter_map(|score| Some((score.score.as_str(), score.mean.as_ref()?, None)));
    let means: Vec<_> = means.collect();
    if !means.is_empty() {
        page.blank();
        page.heading("Mean over the sets");
        show_table(page, evaluation, &means);
    }
}

fn show_set(page: &mut Page, label: &str, set: &SetReport) {
    page.row(label, &format!("{}, {} samples", set.name, set.samples));
    if let Some(labelled) = &set.labelled {
        let nll = labelled.nll.map(|nll| format!(", NLL {}", number(nll))).unwrap_or_default();
        page.row("accuracy", &format!("{} %, ECE {} %{nll}", percent(labelled.accuracy, 2), percent(labelled.ece, 2)));
    }
    show_summaries(page, set);
    if let Some(kept) = set.kept {
        page.row("kept", &format!("{} % are taken for in-distribution", percent(kept, 2)));
    }
}

fn show_summaries(page: &mut Page, set: &SetReport) {
    let summaries = [("margin", &set.margin), ("energy", &set.energy)];
    for (label, summary) in summaries.into_iter().filter_map(|(label, summary)| Some((label, summary.as_ref()?))) {
        page.row(label, &describe(summary));
    }
}

fn describe(summary: &Summary) -> String {
    format!(
        "mean {}, median {}, 90 % from {} to {}",
        number(summary.mean),
        number(summary.median),
        number(summary.p05),
        number(summary.p95)
    )
}

/// What the numbers below are.
fn explanation(evaluation: &Evaluation) -> String {
    let rate = percent(evaluation.true_positive_rate, 0);
    let positive = match evaluation.positive {
        PositiveSet::InDistribution => format!(
            "in-distribution positive (energy paper): out-of-distribution samples that pass when {rate} % of the \
             in-distribution ones do"
        ),
        PositiveSet::OutOfDistribution => format!(
            "out-of-distribution positive (OpenOOD): in-distribution samples flagged when {rate} % of the \
             out-of-distribution ones are"
        ),
    };
    let bootstrap = evaluation.bootstrap;
    let intervals = if bootstrap.resamples == 0 {
        String::new()
    } else {
        format!(", below it the {} % interval of {} resamples", percent(bootstrap.level, 0), bootstrap.resamples)
    };
    format!("In percent{intervals}. FPR{rate} with {positive}.")
}

/// A score's name, its metrics, the share flagged at its threshold.
type Row<'a> = (&'a str, &'a MetricsReport, Option<f64>);

fn show_table(page: &mut Page, evaluation: &Evaluation, rows: &[Row<'_>]) {
    let fpr = format!("FPR{}", percent(evaluation.true_positive_rate, 0));
    let mut titles = vec!["AUROC", "AUPR-in", "AUPR-out", fpr.as_str(), "det. acc."];
    let flagged = rows.iter().any(|row| row.2.is_some());
    if flagged {
        titles.push("flagged");
    }
    let room = WIDTH - INDENT - titles.len() * NARROWEST;
    let longest = rows.iter().map(|row| row.0.len()).max().unwrap_or(0).clamp("score".len(), room);
    // no further apart than they need to be
    let width = ((WIDTH - INDENT - longest) / titles.len()).min(12);
    let line = |name: &str, cells: &[String]| {
        let cells: String = cells.iter().map(|cell| format!("{cell:>width$}")).collect();
        format!("{:INDENT$}{name:longest$}{cells}", "")
    };
    page.faint(&line("score", &titles.iter().map(|&title| title.to_owned()).collect::<Vec<_>>()));
    for (name, metrics, share) in rows {
        let all = [metrics.auroc, metrics.aupr_in, metrics.aupr_out, metrics.fpr_at_tpr, metrics.detection_accuracy];
        let mut values: Vec<String> = all.iter().map(|measured| percent(measured.value, 2)).collect();
        if flagged {
            values.push(share.map(|share| percent(share, 2)).unwrap_or_default());
        }
        page.plain_line(&line(&shorten(&clean(name), longest), &values));
        let intervals: Vec<String> = all.iter().map(interval).collect();
        if intervals.iter().any(|interval| !interval.is_empty()) {
            page.faint(&line("", &intervals));
        }
    }
}

fn interval(measured: &Measured) -> String {
    let short = |share: f64| {
        let text = percent(share, 1);
        if text == "100.0" { "100".to_owned() } else { text }
    };
    measured.interval.map(|[low, high]| format!("{}-{}", short(low), short(high))).unwrap_or_default()
}

/// In percent; only what is all is called 100, only what is nothing 0.
fn percent(share: f64, digits: usize) -> String {
    let text = format!("{:.digits$}", share * 100.0);
    if share < 1.0 && text.starts_with("100") {
        return format!("99.{}", "9".repeat(digits.max(1)));
    }
    if share > 0.0 && text.bytes().all(|c| matches!(c, b'0' | b'.')) {
        return format!("0.{}1", "0".repeat(digits.max(1) - 1));
    }
    text
}

fn number(value: f64) -> String {
    let size = value.abs();
    if size >= 1000.0 || size == 0.0 {
        format!("{value:.0}")
    } else if size >= 1.0 {
        format!("{value:.2}")
    } else if size >= 1e-3 {
        format!("{value:.4}")
    } else {
        format!("{value:.2e}")
    }
}

#[cfg(test)]
mod tests;
