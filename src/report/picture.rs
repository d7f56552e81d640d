//! The main panels as one picture.

use super::Report;
use super::chart::{Chart, HEIGHT, WIDTH};
use super::colours::{chart_style, class_of_set, resolved};
use super::numbers::{count, percent};
use super::panels::title_of;
use super::svg::{Anchor, Svg};
use super::text::{escape, shorten, width};
use crate::metrics::PositiveSet;

/// Scores that are shown; more would be too small to see.
const SCORES: usize = 3;
const MARGIN: f64 = 28.0;
const GAP: f64 = 26.0;
/// Height of a panel's title.
const TITLE: f64 = 26.0;

/// A panel's title and chart.
type Panel = (String, Chart);

/// Histograms and ROC curves of the first scores, reliability and margins, with a legend.
#[expect(clippy::cast_precision_loss, reason = "a few panels")]
pub fn picture(report: &Report<'_>) -> String {
    let scores: Vec<_> = report.evaluation.scores.iter().take(SCORES).collect();
    let titled = |title: &str, chart| (title.to_owned(), chart);
    let histograms = scores.iter().map(|score| titled(title_of(score.score), report.score_histogram(score)));
    let curves =
        scores.iter().map(|score| titled(&format!("ROC of {}", title_of(score.score)), report.score_roc(score)));
    let last = [
        report.reliability().map(|chart| titled("Reliability", chart)),
        report.margins().map(|chart| titled("Margin", chart)),
    ];
    let mut last: Vec<Panel> = last.into_iter().flatten().collect();
    let columns = scores.len().max(2);
    if last.len() < columns {
        last.push((digest_title(report), digest(report)));
    }
    let rows: Vec<Vec<Panel>> = if scores.len() == 1 {
        vec![histograms.chain(curves).collect(), last]
    } else {
        vec![histograms.collect(), curves.collect(), last]
    };
    let rows: Vec<Vec<Panel>> = rows.into_iter().filter(|row| !row.is_empty()).collect();

    let total_width = 2.0 * MARGIN + columns as f64 * WIDTH + (columns - 1) as f64 * GAP;
    let mut svg = Svg::default();
    let top = head(&mut svg, report, total_width);
    for (row, panels) in rows.iter().enumerate() {
        let y = top + row as f64 * (TITLE + HEIGHT + GAP);
        for (column, (title, chart)) in panels.iter().enumerate() {
            let x = MARGIN + column as f64 * (WIDTH + GAP);
            svg.text("title", (x, y + 14.0), Anchor::Start, title);
            svg.group((x, y + TITLE), &chart.body);
        }
    }
    let total_height = top + rows.len() as f64 * (TITLE + HEIGHT + GAP) + 8.0;
    svg.text("label", (MARGIN, total_height - 14.0), Anchor::Start, &report.model.footer);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart\" width=\"{total_width}\" height=\"{total_height}\" \
         viewBox=\"0 0 {total_width} {total_height}\">\n<title>{}: in and out of distribution</title>\n<style>\n{}</style>\n\
         <rect class=\"ground\" width=\"100%\" height=\"100%\"/>\n{}</svg>\n",
        escape(&report.model.title),
        resolved(&(chart_style() + STYLE)),
        svg.into_string()
    )
}

const STYLE: &str = "\
.ground{fill:var(--card)}
.heading{font-size:22px;font-weight:700;fill:var(--ink)}
.title{font-size:14.5px;font-weight:700;fill:var(--ink)}
.name{font-size:13.5px;fill:var(--ink)}
.sub{font-size:13.5px;fill:var(--soft)}
";

/// Title, the numbers of the in-distribution set and the legend; returns where the panels begin.
fn head(svg: &mut Svg, report: &Report<'_>, total_width: f64) -> f64 {
    svg.text("heading", (MARGIN, 46.0), Anchor::Start, &shorten(&report.model.title, 60));
    let set = &report.evaluation.in_distribution;
    let mut facts = format!("{} samples of {}", count(set.samples), shorten(&set.name, 40));
    if let Some(labelled) = &set.labelled {
        facts += &format!(", accuracy {} %, ECE {} %", percent(labelled.accuracy, 2), percent(labelled.ece, 2));
    }
    let shown = report.evaluation.scores.len().min(SCORES);
    if shown < report.evaluation.scores.len() {
        facts += &format!("; {shown} of {} scores", report.evaluation.scores.len());
    }
    svg.text("sub", (MARGIN, 70.0), Anchor::Start, &facts);
    let (mut x, mut y) = (MARGIN, 98.0);
    for (index, set) in report.sets().enumerate() {
        let kind = if index == 0 { " (in-distribution)" } else { "" };
        let text = format!("{}{kind}", shorten(&set.name, 40));
        let room = 18.0 + width(&text, 13.5) + 22.0;
        if x + room > total_width - MARGIN && x > MARGIN {
            (x, y) = (MARGIN, y + 22.0);
        }
        svg.circle(&format!("dot {}", class_of_set(index)), (x + 6.0, y - 4.5), 6.5);
        svg.text("name", (x + 18.0, y), Anchor::Start, &text);
        x += room;
    }
    y + 28.0
}

/// Which sets the [`digest`] is of.
fn digest_title(report: &Report<'_>) -> String {
    match report.out_of_distribution {
        [set] => format!("Against {}", shorten(&set.name, 36)),
        _ => "Mean over the sets".to_owned(),
    }
}

/// The metrics of as many scores as fit, as a table.
fn digest(report: &Report<'_>) -> Chart {
    const ROWS: usize = 8;
    const COLUMNS: [f64; 4] = [226.0, 294.0, 366.0, 426.0];
    let mut svg = Svg::default();
    let rate = format!("FPR{}", percent(report.evaluation.true_positive_rate, 0));
    for (x, name) in COLUMNS.into_iter().zip(["AUROC", "AUPR-in", "AUPR-out", &rate]) {
        svg.text("label", (x, 30.0), Anchor::End, name);
    }
    let mut y = 56.0;
    for score in report.evaluation.scores.iter().take(ROWS) {
        let Some(metrics) = score.mean.or(score.sets.first().map(|set| set.metrics)) else { continue };
        svg.line("grid", (4.0, y - 17.0), (WIDTH - 14.0, y - 17.0));
        svg.text("name", (4.0, y), Anchor::Start, title_of(score.score));
        let all = [metrics.auroc, metrics.aupr_in, metrics.aupr_out, metrics.fpr_at_tpr];
        for (x, measured) in COLUMNS.into_iter().zip(all) {
            svg.text("name", (x, y), Anchor::End, &percent(measured.value, 2));
        }
        y += 26.0;
    }
    svg.text("label", (4.0, y + 4.0), Anchor::Start, &format!("In percent; {}", positive(report)));
    Chart { body: svg.into_string(), description: String::new() }
}

fn positive(report: &Report<'_>) -> &'static str {
    match report.evaluation.positive {
        PositiveSet::InDistribution => "in-distribution is positive for the FPR",
        PositiveSet::OutOfDistribution => "out-of-distribution is positive for the FPR",
    }
}
