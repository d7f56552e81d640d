//! The report as one HTML file.

use std::fmt::Write as _;

use super::Report;
use super::chart::Chart;
use super::colours::{chart_style, class_of_set, properties};
use super::numbers::{count, percent};
use super::panels::{formula_of, title_of};
use super::table::{convention, sets, tables};
use super::text::escape;

/// The page.
pub fn page(report: &Report<'_>) -> String {
    let title = escape(&report.model.title);
    let mut html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"generator\" content=\"elonnx {}\">\n\
         <link rel=\"icon\" href=\"data:,\">\n\
         <title>{title}: in and out of distribution</title>\n<style>\n{}{}{}{}</style>\n</head>\n<body>\n<main>\n",
        env!("CARGO_PKG_VERSION"),
        properties(),
        chart_style(),
        swatch_style(),
        include_str!("page.css"),
    );
    header(&mut html, report);
    tiles(&mut html, report);
    html.push_str("<section>\n<h2>Scores</h2>\n");
    let _ = writeln!(
        html,
        "<p class=\"lead\">All numbers in percent{}. Every score is higher the further out of distribution. {}</p>",
        intervals(report),
        escape(&convention(report))
    );
    html.push_str(&tables(report));
    html.push_str("</section>\n");
    html.push_str("<section>\n<h2>Distributions and ROC curves</h2>\n");
    html.push_str(&legend(report));
    for score in &report.evaluation.scores {
        let _ = writeln!(
            html,
            "<h3>{} <span class=\"formula\">{}</span></h3>",
            title_of(score.score),
            formula_of(score.score)
        );
        html.push_str("<div class=\"charts\">\n");
        card(&mut html, "", &report.score_histogram(score));
        card(&mut html, "", &report.score_roc(score));
        html.push_str("</div>\n");
    }
    html.push_str("</section>\n");
    predictions(&mut html, report);
    html.push_str("<section>\n<h2>The sets</h2>\n");
    html.push_str(&sets(report));
    html.push_str("</section>\n");
    let _ = writeln!(html, "<footer>{}</footer>\n</main>\n</body>\n</html>", escape(&report.model.footer));
    html
}

fn header(html: &mut String, report: &Report<'_>) {
    let others: Vec<&str> = report.out_of_distribution.iter().map(|set| set.name.as_str()).collect();
    let _ = writeln!(
        html,
        "<header>\n<p class=\"kicker\">In and out of distribution</p>\n<h1>{}</h1>\n<p class=\"lead\"><b>{}</b> against <b>{}</b></p>",
        escape(&report.model.title),
        escape(&report.in_distribution.name),
        escape(&others.join(", "))
    );
    html.push_str("<dl>\n");
    for (label, value) in &report.model.facts {
        let _ = writeln!(html, "<div><dt>{}</dt><dd>{}</dd></div>", escape(label), escape(value));
    }
    html.push_str("</dl>\n</header>\n");
}

/// The numbers one looks for first.
fn tiles(html: &mut String, report: &Report<'_>) {
    let evaluation = report.evaluation;
    let mut tiles: Vec<(String, String, String)> = Vec::new();
    if let Some(labelled) = &evaluation.in_distribution.labelled {
        let samples = format!("of {} samples", count(evaluation.in_distribution.samples));
        tiles.push(("Accuracy".into(), format!("{} %", percent(labelled.accuracy, 2)), samples));
        let nll = labelled.nll.map(|nll| format!("NLL {}", super::numbers::general(nll)));
        tiles.push(("Calibration error".into(), format!("{} %", percent(labelled.ece, 2)), nll.unwrap_or_default()));
    }
    let metrics = |score: &crate::edge::evaluate::ScoreReport| score.mean.or(score.sets.first().map(|set| set.metrics));
    let best = evaluation.scores.iter().filter_map(|score| Some((score.score, metrics(score)?)));
    let best = best.reduce(|a, b| if b.1.auroc.value > a.1.auroc.value { b } else { a });
    if let Some((score, metrics)) = best {
        let what = if evaluation.out_of_distribution.len() > 1 { ", mean over the sets" } else { "" };
        let which = format!("{}{what}", title_of(score));
        tiles.push(("Best AUROC".into(), format!("{} %", percent(metrics.auroc.value, 2)), which.clone()));
        let rate = percent(evaluation.true_positive_rate, 0);
        tiles.push((format!("FPR{rate}"), format!("{} %", percent(metrics.fpr_at_tpr.value, 2)), which));
    }
    html.push_str("<div class=\"tiles\">\n");
    for (label, value, note) in tiles {
        let _ = writeln!(
            html,
            "<div class=\"tile\"><p>{}</p><p class=\"value\">{}</p><p class=\"fine\">{}</p></div>",
            escape(&label),
            escape(&value),
            escape(&note)
        );
    }
    html.push_str("</div>\n");
}

fn predictions(html: &mut String, report: &Report<'_>) {
    let (reliability, margins) = (report.reliability(), report.margins());
    if reliability.is_none() && margins.is_none() {
        return;
    }
    let _ = writeln!(html, "<section>\n<h2>Predictions on {}</h2>", escape(&report.in_distribution.name));
    html.push_str("<div class=\"charts\">\n");
    if let Some(chart) = reliability {
        card(html, "<h4>Reliability</h4>", &chart);
    }
    if let Some(chart) = margins {
        card(html, "<h4>Margin</h4>", &chart);
    }
    html.push_str("</div>\n</section>\n");
}

fn card(html: &mut String, head: &str, chart: &Chart) {
    let _ = writeln!(html, "<figure>{head}{}</figure>", chart.inline());
}

/// Which colour is which set.
fn legend(report: &Report<'_>) -> String {
    let mut html = String::from("<p class=\"legend\">");
    for (index, set) in report.sets().enumerate() {
        let kind = if index == 0 { " (in-distribution)" } else { "" };
        let _ =
            write!(html, "<span><i class=\"swatch {}\"></i>{}{kind}</span>", class_of_set(index), escape(&set.name));
    }
    html.push_str("</p>\n");
    html
}

fn intervals(report: &Report<'_>) -> String {
    let bootstrap = report.evaluation.bootstrap;
    if bootstrap.resamples == 0 {
        return String::new();
    }
    format!(
        ", with {} % bootstrap intervals below ({} resamples, seed {})",
        percent(bootstrap.level, 0),
        bootstrap.resamples,
        bootstrap.seed
    )
}

fn swatch_style() -> String {
    let names = ["in", "out0", "out1", "out2", "out3", "out4", "out5"];
    names.map(|name| format!(".swatch.{name}{{background:var(--{name})}}")).concat() + "\n"
}
