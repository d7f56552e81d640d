use super::*;
use crate::edge::evaluate::tests::{calibrated, made_up};
use crate::edge::evaluate::{EvaluateOptions, evaluate};
use crate::metrics::Bootstrap;

struct Example {
    facts: ModelFacts,
    inside: ScoredSet,
    outside: Vec<ScoredSet>,
    evaluation: Evaluation,
}

impl Example {
    fn new(sets: &[(&str, f64)], labelled: bool, calibrate: bool) -> Self {
        let inside = made_up("mnist_test", 2000, 9.0, 2.5, labelled.then_some(40));
        let outside: Vec<ScoredSet> =
            sets.iter().enumerate().map(|(i, (name, margin))| made_up(name, 1500 + i, *margin, 1.8, None)).collect();
        let calibration = calibrate.then(|| calibrated(&inside));
        let bootstrap = Bootstrap { resamples: 100, ..Bootstrap::default() };
        let options = EvaluateOptions { bootstrap, ..EvaluateOptions::default() };
        let evaluation = evaluate(&inside, &outside, calibration.as_ref(), &options).unwrap();
        let fact = |label: &str, value: &str| (label.to_owned(), value.to_owned());
        let facts = ModelFacts {
            title: "mnist_el.onnx".into(),
            facts: vec![
                fact("Logits", "Plus214_Output_0, which goes through a softmax to the output 'prob'"),
                fact("Engine", "tract"),
                fact("Classes", "10"),
                fact("Temperature", "1.21, fitted"),
            ],
            footer: "elonnx 0.1.0".into(),
        };
        Example { facts, inside, outside, evaluation }
    }

    fn report(&self) -> Report<'_> {
        Report {
            model: &self.facts,
            evaluation: &self.evaluation,
            in_distribution: &self.inside,
            out_of_distribution: &self.outside,
            log_roc: false,
        }
    }
}

fn text(report: &Report<'_>, format: Format) -> String {
    String::from_utf8(report.render(format).unwrap()).unwrap()
}

/// Whether as many elements of a kind close as open.
fn balanced(markup: &str, element: &str) -> bool {
    let opening = [" ", ">"].map(|end| markup.matches(&format!("<{element}{end}")).count());
    opening.iter().sum::<usize>() == markup.matches(&format!("</{element}>")).count()
}

#[test]
fn a_page_holds_everything_and_fetches_nothing() {
    let example = Example::new(&[("fashion_mnist", 3.0), ("noise", 1.0)], true, true);
    let page = text(&example.report(), Format::Html);
    for word in [
        "mnist_el.onnx",
        "fashion_mnist",
        "AUROC",
        "FPR95",
        "in-distribution is positive",
        "ECE",
        "Mean over the sets",
        "calibrated threshold",
    ] {
        assert!(page.contains(word), "{word}");
    }
    // two charts per score, reliability and margin
    assert_eq!(page.matches("<svg class=\"chart\"").count(), 2 * 3 + 2);
    for word in ["http:", "https:", "<script", "url(", "@import", "NaN"] {
        assert!(!page.contains(word), "{word}");
    }
    for element in ["svg", "figure", "table", "section", "text", "div", "p", "tr", "td"] {
        assert!(page.contains(&format!("</{element}>")) && balanced(&page, element), "{element}");
    }
    assert_eq!(page, text(&example.report(), Format::Html));
}

#[test]
fn names_from_files_stay_text() {
    let mut example = Example::new(&[("<img src=x onerror=alert(1)>", 3.0)], true, false);
    example.facts.title = "\"><script>alert(1)</script>".into();
    example.facts.facts[0].1 = "<u>&".into();
    example.facts.footer = "</style><script>".into();
    for format in [Format::Html, Format::Svg] {
        let text = text(&example.report(), format);
        assert!(!text.contains("<script") && !text.contains("<img") && !text.contains("<u>"), "{format:?}");
    }
    example.report().render(Format::Png).unwrap();
}

#[test]
fn a_picture_in_pixels_has_text_without_fonts_of_the_system() {
    let example = Example::new(&[("fashion_mnist", 3.0)], true, true);
    let with = example.report().render(Format::Png).unwrap();
    assert!(with.starts_with(b"\x89PNG"));
    let pixels = resvg::tiny_skia::Pixmap::decode_png(&with).unwrap();
    // the heading: dark pixels between x 28 and 300, y 28 and 50, twice as large
    let dark = (56..600u32).flat_map(|x| (56..100u32).map(move |y| (x, y)));
    let dark = dark.filter(|(x, y)| pixels.pixel(*x, *y).is_some_and(|pixel| pixel.red() < 100)).count();
    assert!(dark > 500, "{dark}");
}

#[test]
fn sets_without_labels_logits_or_spread() {
    let example = Example::new(&[("other", 3.0)], false, false);
    let page = text(&example.report(), Format::Html);
    assert!(!page.contains("ECE") && page.contains("95 % TPR"));
    let mut example = Example::new(&[("other", 3.0)], true, false);
    example.inside.margin.clear();
    example.outside[0].columns[1].fill(f32::INFINITY);
    example.outside[0].columns[2].fill(0.5);
    for format in [Format::Html, Format::Svg, Format::Png] {
        example.report().render(format).unwrap();
    }
}

#[test]
fn files_are_whole_or_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let example = Example::new(&[("other", 3.0)], true, false);
    for name in ["a.html", "b.SVG", "c.png"] {
        example.report().save(&folder.path().join(name)).unwrap();
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
    let refusal = |path: &Path| example.report().save(path).unwrap_err().to_string();
    assert!(refusal(&folder.path().join("d.pdf")).contains("written as .html, .svg or .png"));
    assert!(refusal(&folder.path().join("none/d.svg")).starts_with("write "));
}

/// For the eye: `ELONNX_REPORTS=folder cargo test --lib report::tests::look -- --ignored`.
#[test]
#[ignore = "writes files to look at"]
fn look() {
    let folder = std::path::PathBuf::from(std::env::var_os("ELONNX_REPORTS").unwrap());
    let sets = [("fashion_mnist", 3.0), ("uniform noise with a rather long name that goes on", 1.0)];
    let many: Vec<(&str, f64)> = ["one", "two", "three", "four", "five", "six", "seven"]
        .into_iter()
        .zip([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
        .collect();
    let examples = [
        ("calibrated", Example::new(&sets, true, true)),
        ("plain", Example::new(&sets[..1], false, false)),
        ("many", Example::new(&many, true, false)),
    ];
    for (name, example) in examples {
        for extension in ["html", "svg", "png"] {
            let report = Report { log_roc: name == "plain", ..example.report() };
            report.save(&folder.join(format!("{name}.{extension}"))).unwrap();
        }
    }
}
