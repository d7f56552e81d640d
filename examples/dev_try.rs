use elonnx::{model::*, rewrite::*};
fn main() {
    for path in std::env::args().skip(1) {
        let name = path.rsplit("models/").next().unwrap().to_owned();
        let d = match Document::open(&path) {
            Ok(d) => d,
            Err(e) => {
                println!("{name}: OPEN {e}");
                continue;
            }
        };
        let show = |r: &Report| {
            for l in &r.losses {
                println!(
                    "    [{}] {} | {:?} | logits {:?} labels {:?} loss {:?} {:?} {:?} w {:?} grad {:?} | {:?} | {:?} notes {:?} nodes {}",
                    l.rule,
                    l.place,
                    l.what,
                    l.logits,
                    l.labels,
                    l.loss,
                    l.data_type,
                    l.shape,
                    l.class_weights,
                    l.gradient,
                    l.action,
                    l.parameters,
                    l.notes,
                    l.nodes.len()
                );
            }
            for n in &r.near_misses {
                println!("    near [{}] {}: {}", n.rule, n.node, n.reason);
            }
            for w in &r.warnings {
                println!("    warn {w}");
            }
            for w in &r.changes {
                println!("    change {w}");
            }
        };
        match patch(&d, &PatchOptions::default()) {
            Ok(p) => {
                println!("{name}: swapped {}", p.report.swapped());
                show(&p.report);
                let again = patch(&Document::from_bytes(p.document.to_bytes()).unwrap(), &PatchOptions::default());
                match again {
                    Ok(a) => {
                        if a.document.to_bytes() != p.document.to_bytes() {
                            println!("    NOT IDEMPOTENT");
                            show(&a.report)
                        }
                    }
                    Err(e) => println!("    SECOND {e}"),
                }
                if let Ok(dir) = std::env::var("OUT") {
                    p.document.save(format!("{dir}/{}", name.replace('/', "__")), ExternalData::Link).unwrap();
                }
            }
            Err(RewriteError::NothingMatched(r)) => {
                println!("{name}: NOTHING");
                show(&r)
            }
            Err(e) => println!("{name}: ERR {e}"),
        }
    }
}
