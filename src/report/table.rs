//! The summary table of a page.

use std::fmt::Write as _;

use super::Report;
use super::numbers::{general, percent};
use super::panels::title_of;
use super::text::escape;
use crate::edge::Score;
use crate::edge::evaluate::{Measured, MetricsReport};
use crate::metrics::PositiveSet;

/// One row: a score, its numbers, what the calibrated threshold does.
struct Row<'a> {
    score: Score,
    metrics: &'a MetricsReport,
    flagged: Option<f64>,
}

/// A metric's name, whether more is better, and how to get it.
type Column = (String, bool, fn(&MetricsReport) -> Measured);

fn columns(report: &Report<'_>) -> [Column; 5] {
    let rate = percent(report.evaluation.true_positive_rate, 0);
    [
        ("AUROC".to_owned(), true, |m| m.auroc),
        ("AUPR-in".to_owned(), true, |m| m.aupr_in),
        ("AUPR-out".to_owned(), true, |m| m.aupr_out),
        (format!("FPR{rate}"), false, |m| m.fpr_at_tpr),
        ("Detection accuracy".to_owned(), true, |m| m.detection_accuracy),
    ]
}

/// One table per out-of-distribution set, and one of the means where there are several.
pub fn tables(report: &Report<'_>) -> String {
    let mut html = String::new();
    let evaluation = report.evaluation;
    let means: Vec<Row<'_>> = evaluation
        .scores
        .iter()
        .filter_map(|score| Some(Row { score: score.score, metrics: score.mean.as_ref()?, flagged: None }))
        .collect();
    if !means.is_empty() {
        table(&mut html, report, "Mean over the sets", &means);
    }
    for (index, set) in evaluation.out_of_distribution.iter().enumerate() {
        let rows: Vec<Row<'_>> = evaluation
            .scores
            .iter()
            .filter_map(|score| {
                let of = score.sets.get(index)?;
                Some(Row { score: score.score, metrics: &of.metrics, flagged: of.flagged })
            })
            .collect();
        let class = super::colours::class_of_set(index + 1);
        let title = format!("<span class=\"swatch {class}\"></span>{}", escape(&set.name));
        table(&mut html, report, &title, &rows);
    }
    html
}

fn table(html: &mut String, report: &Report<'_>, title: &str, rows: &[Row<'_>]) {
    let columns = columns(report);
    let flagged = rows.iter().any(|row| row.flagged.is_some());
    let _ = write!(html, "<div class=\"scroll\"><table><caption>{title}</caption><thead><tr><th>Score</th>");
    for (name, more, _) in &columns {
        let arrow = if *more { "↑" } else { "↓" };
        let _ = write!(html, "<th>{name}&nbsp;{arrow}</th>");
    }
    html.push_str(if flagged { "<th>Flagged</th>" } else { "" });
    html.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        let _ = write!(html, "<tr><th scope=\"row\">{}</th>", title_of(row.score));
        for (_, more, get) in &columns {
            let measured = get(row.metrics);
            let best = rows.iter().all(|other| {
                let other = get(other.metrics).value;
                // what looks the same is the same
                percent(other, 2) == percent(measured.value, 2) || *more == (other < measured.value)
            });
            cell(html, measured, best && rows.len() > 1);
        }
        if flagged {
            let _ = write!(html, "<td>{}</td>", row.flagged.map(|share| percent(share, 2)).unwrap_or_default());
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody></table></div>\n");
}

fn cell(html: &mut String, measured: Measured, best: bool) {
    let class = if best { " class=\"best\"" } else { "" };
    let _ = write!(html, "<td{class}>{}", percent(measured.value, 2));
    if let Some([low, high]) = measured.interval {
        let _ = write!(html, "<small>{}–{}</small>", percent(low, 1), percent(high, 1));
    }
    html.push_str("</td>");
}

/// What the false positive rate is, in words.
pub fn convention(report: &Report<'_>) -> String {
    let rate = percent(report.evaluation.true_positive_rate, 0);
    match report.evaluation.positive {
        PositiveSet::InDistribution => format!(
            "FPR{rate}: in-distribution is positive (energy paper): the share of out-of-distribution samples that pass \
             when {rate} % of the in-distribution samples do."
        ),
        PositiveSet::OutOfDistribution => format!(
            "FPR{rate}: out-of-distribution is positive (OpenOOD): the share of in-distribution samples that are \
             flagged when {rate} % of the out-of-distribution samples are."
        ),
    }
}

/// The sets in numbers: how many samples, how they are predicted.
pub fn sets(report: &Report<'_>) -> String {
    let evaluation = report.evaluation;
    let all: Vec<_> = std::iter::once(&evaluation.in_distribution).chain(&evaluation.out_of_distribution).collect();
    let (margin, energy, kept) = (
        all.iter().any(|set| set.margin.is_some()),
        all.iter().any(|set| set.energy.is_some()),
        all.iter().any(|set| set.kept.is_some()),
    );
    let mut html = String::from("<div class=\"scroll\"><table><thead><tr><th>Set</th><th>Samples</th>");
    html.push_str("<th>Confidence</th>");
    html.push_str(if margin { "<th>Margin</th>" } else { "" });
    html.push_str(if energy { "<th>Energy</th>" } else { "" });
    html.push_str(if kept { "<th>Taken for in-distribution</th>" } else { "" });
    html.push_str("</tr></thead>\n<tbody>\n");
    for (index, set) in all.iter().enumerate() {
        let class = super::colours::class_of_set(index);
        let kind = if index == 0 { "<small>in-distribution</small>" } else { "" };
        let _ = write!(
            html,
            "<tr><th scope=\"row\"><span class=\"swatch {class}\"></span>{}{kind}</th><td>{}</td>",
            escape(&set.name),
            super::numbers::count(set.samples)
        );
        let spread = |html: &mut String, summary: Option<&crate::edge::evaluate::Summary>| {
            let text =
                summary.map(|s| format!("{}<small>{} to {}</small>", general(s.mean), general(s.p05), general(s.p95)));
            let _ = write!(html, "<td>{}</td>", text.unwrap_or_default());
        };
        spread(&mut html, Some(&set.confidence));
        if margin {
            spread(&mut html, set.margin.as_ref());
        }
        if energy {
            spread(&mut html, set.energy.as_ref());
        }
        if kept {
            let text = set.kept.map(|share| format!("{} %", percent(share, 2)));
            let _ = write!(html, "<td>{}</td>", text.unwrap_or_default());
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody></table></div>\n<p class=\"fine\">Means; below them, where 90 % of the samples lie.</p>\n");
    html
}
