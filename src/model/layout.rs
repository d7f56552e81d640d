//! The order of fields in an encoded message, kept while lists of their kinds are edited.

/// Fields of one number in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    number: u32,
    count: usize,
}

/// Which kinds of fields follow each other; the fields themselves lie in one list per kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    runs: Vec<Run>,
}

impl Layout {
    /// One more field at the end.
    pub(super) fn push(&mut self, number: u32) {
        match self.runs.last_mut() {
            Some(run) if run.number == number => run.count += 1,
            _ => self.runs.push(Run { number, count: 1 }),
        }
    }

    /// Makes room for a field that becomes the `at`-th of its kind: before the present `at`-th; after the last of its
    /// kind; where there is none, before the first field with a greater number.
    pub(super) fn insert(&mut self, number: u32, at: usize) {
        let mut before = 0;
        let mut last = None;
        for (index, run) in self.runs.iter_mut().enumerate().filter(|(_, run)| run.number == number) {
            if at < before + run.count {
                run.count += 1;
                return;
            }
            before += run.count;
            last = Some(index);
        }
        match last {
            Some(index) => self.runs[index].count += 1,
            None => {
                let index = self.runs.iter().position(|run| run.number > number).unwrap_or(self.runs.len());
                self.runs.insert(index, Run { number, count: 1 });
            }
        }
    }

    /// Forgets the `at`-th field of its kind.
    pub(super) fn remove(&mut self, number: u32, at: usize) {
        let mut before = 0;
        for run in self.runs.iter_mut().filter(|run| run.number == number) {
            if at < before + run.count {
                run.count -= 1;
                return;
            }
            before += run.count;
        }
    }

    /// Field numbers in order, each with how many follow.
    pub(super) fn runs(&self) -> impl Iterator<Item = (u32, usize)> {
        self.runs.iter().map(|run| (run.number, run.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(numbers: &[u32]) -> Layout {
        let mut layout = Layout::default();
        numbers.iter().for_each(|&number| layout.push(number));
        layout
    }

    fn flat(layout: &Layout) -> Vec<u32> {
        layout.runs().flat_map(|(number, count)| std::iter::repeat_n(number, count)).collect()
    }

    #[test]
    fn inserts_where_the_neighbour_is() {
        let mut mixed = layout(&[1, 5, 1, 5]);
        mixed.insert(1, 1);
        assert_eq!(flat(&mixed), [1, 5, 1, 1, 5]);
        mixed.insert(5, 2);
        assert_eq!(flat(&mixed), [1, 5, 1, 1, 5, 5]);
        mixed.insert(1, 0);
        assert_eq!(flat(&mixed), [1, 1, 5, 1, 1, 5, 5]);
    }

    #[test]
    fn a_new_kind_goes_in_field_order() {
        let mut mixed = layout(&[1, 2, 11]);
        mixed.insert(5, 0);
        assert_eq!(flat(&mixed), [1, 2, 5, 11]);
        mixed.insert(13, 0);
        assert_eq!(flat(&mixed), [1, 2, 5, 11, 13]);
        let mut empty = Layout::default();
        empty.insert(1, 0);
        assert_eq!(flat(&empty), [1]);
    }

    #[test]
    fn removes_the_right_one() {
        let mut mixed = layout(&[1, 5, 1, 1]);
        mixed.remove(1, 1);
        assert_eq!(flat(&mixed), [1, 5, 1]);
        mixed.remove(1, 0);
        mixed.remove(1, 0);
        assert_eq!(flat(&mixed), [5]);
    }
}
