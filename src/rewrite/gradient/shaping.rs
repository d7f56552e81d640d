//! Steps that many rules need: undoing a broadcast, shapes as values, reductions of any opset.

use crate::model::Dimension;

use super::Builder;

impl Builder<'_> {
    /// The shape of a value, int64: a constant where it is known.
    pub fn shape_of(&mut self, value: &str) -> String {
        match self.sizes(value) {
            Some(sizes) => self.ints(&sizes),
            None => self.op("Shape", &[value]),
        }
    }

    /// Number of elements in some axes (all where None), as a scalar of the element type of `value`.
    pub fn count(&mut self, value: &str, axes: Option<&[i64]>) -> String {
        let dims = self.dims(value);
        let chosen: Option<Vec<Dimension>> = match (&dims, axes) {
            (Some(dims), None) => Some(dims.clone()),
            (Some(dims), Some(axes)) => {
                let rank = dims.len() as i64;
                axes.iter()
                    .map(|&axis| dims.get(usize::try_from(axis.rem_euclid(rank.max(1))).ok()?).cloned())
                    .collect()
            }
            (None, _) => None,
        };
        let product = chosen.and_then(|dims| dims.iter().try_fold(1i64, |n, dim| n.checked_mul(dim.known()?)));
        if let Some(product) = product {
            return self.number(value, product as f64);
        }
        let count = match axes {
            None => self.op("Size", &[value]),
            Some(axes) => {
                let (shape, axes) = (self.op("Shape", &[value]), self.ints(axes));
                let sizes = self.node("Gather", &[&shape, &axes], |node| node.int("axis", 0));
                self.node("ReduceProd", &[&sizes], |node| node.int("keepdims", 0))
            }
        };
        self.cast_like(&count, value)
    }

    /// A value in the element type of another.
    pub fn cast_like(&mut self, value: &str, like: &str) -> String {
        match self.data_type(like) {
            Some(to) if self.data_type(value) == Some(to) => value.to_owned(),
            Some(to) => self.node("Cast", &[value], |node| node.int("to", to.into())),
            // never: what has a gradient is a float tensor of a known type
            None => value.to_owned(),
        }
    }

    /// Over these axes, in the form that the opset has: axes are an input of ReduceSum since 13, of the others since 18.
    /// No axes: nothing is reduced.
    pub fn reduce(&mut self, op: &str, value: &str, axes: &[i64], keep: bool) -> String {
        if axes.is_empty() {
            return value.to_owned();
        }
        let keep = i64::from(keep);
        if op == "ReduceSum" || self.opset() >= 18 {
            let axes = self.ints(axes);
            return self.node(op, &[value, &axes], |node| node.int("keepdims", keep));
        }
        self.node(op, &[value], |node| node.ints("axes", axes).int("keepdims", keep))
    }

    /// Over all axes, to a scalar.
    pub fn reduce_all(&mut self, op: &str, value: &str) -> String {
        self.node(op, &[value], |node| node.int("keepdims", 0))
    }

    /// A value in the shape of another that has as many elements.
    pub fn reshape_like(&mut self, value: &str, like: &str) -> String {
        if self.same_shape(value, like) {
            return value.to_owned();
        }
        // one size that is not known can be left to Reshape
        let target = match self.dims(like) {
            Some(dims)
                if dims.iter().filter(|dim| dim.known().is_none()).count() == 1
                    && !dims.contains(&Dimension::Known(0)) =>
            {
                let sizes: Vec<i64> = dims.iter().map(|dim| dim.known().unwrap_or(-1)).collect();
                self.ints(&sizes)
            }
            _ => {
                let shape = self.shape_of(like);
                // a size of 0 is one, not "as it was"
                let literal = self.opset() >= 14 && self.sizes(like).is_none_or(|sizes| sizes.contains(&0));
                let reshaped = self
                    .node("Reshape", &[value, &shape], |node| if literal { node.int("allowzero", 1) } else { node });
                self.declare_like(&reshaped, like);
                return reshaped;
            }
        };
        let reshaped = self.op("Reshape", &[value, &target]);
        self.declare_like(&reshaped, like);
        reshaped
    }

    /// A value stretched to the shape of another (multidirectional broadcasting); unchanged where it has it already.
    pub fn broadcast_to(&mut self, value: &str, like: &str) -> String {
        if self.same_shape(value, like) {
            return value.to_owned();
        }
        let shape = self.shape_of(like);
        let stretched = self.op("Expand", &[value, &shape]);
        let found = crate::model::ValueType { data_type: self.data_type(value), dims: self.dims(like) };
        self.declare(&stretched, found);
        stretched
    }

    /// Undoes a broadcast: sums `value` over the axes along which `like` was stretched to its shape. The gradient of an
    /// operand of a broadcasting operator: ∂L/∂like = Σ over the stretched axes of ∂L/∂value.
    pub fn sum_to(&mut self, value: &str, like: &str) -> String {
        if self.same_shape(value, like) {
            return value.to_owned();
        }
        let (Some(from), Some(to)) = (self.dims(value), self.dims(like)) else {
            return self.sum_to_at_run_time(value, like);
        };
        let Some(extra) = from.len().checked_sub(to.len()) else {
            return self.sum_to_at_run_time(value, like);
        };
        let mut axes: Vec<i64> = (0..extra as i64).collect();
        for (at, (wide, narrow)) in from[extra..].iter().zip(&to).enumerate() {
            match (wide, narrow) {
                (Dimension::Known(1), _) => {}
                (_, Dimension::Known(1)) => axes.push((extra + at) as i64),
                (_, Dimension::Known(_)) => {}
                (wide, narrow) if wide == narrow && *wide != Dimension::Unknown => {}
                _ => return self.sum_to_at_run_time(value, like),
            }
        }
        let summed = self.reduce("ReduceSum", value, &axes, extra == 0);
        self.reshape_like(&summed, like)
    }

    /// Where shapes are not known: the axes are found when the graph runs.
    fn sum_to_at_run_time(&mut self, value: &str, like: &str) -> String {
        let (shape, target) = (self.op("Shape", &[value]), self.op("Shape", &[like]));
        // the target with ones in front: as many axes as the value has
        let (rank, target_rank) = (self.op("Shape", &[&shape]), self.op("Shape", &[&target]));
        let missing = self.op("Sub", &[&rank, &target_rank]);
        let one = crate::model::proto::TensorProto::vector("", crate::model::DataType::Int64 as i32, &[1.0]);
        let ones = self.node("ConstantOfShape", &[&missing], |node| node.tensor("value", &one));
        let aligned = self.node("Concat", &[&ones, &target], |node| node.int("axis", 0));
        let same = self.op("Equal", &[&shape, &aligned]);
        let stretched = self.op("Not", &[&same]);
        let axes = self.op("NonZero", &[&stretched]);
        let flat = self.ints(&[-1]);
        let axes = self.op("Reshape", &[&axes, &flat]);
        let summed =
            self.node("ReduceSum", &[value, &axes], |node| node.int("keepdims", 1).int("noop_with_empty_axes", 1));
        let reshaped = self.op("Reshape", &[&summed, &target]);
        self.declare_like(&reshaped, like);
        reshaped
    }

    /// `op`(value, number)
    pub fn with_number(&mut self, op: &str, value: &str, number: f64) -> String {
        let number = self.number(value, number);
        self.op(op, &[value, &number])
    }

    /// A value where a mask is true, else 0. A product would make 0·∞ of what is not finite.
    pub fn masked(&mut self, mask: &str, value: &str) -> String {
        let zero = self.number(value, 0.0);
        self.op("Where", &[mask, value, &zero])
    }

    /// A target shape for Reshape: `head`, then the sizes of a value from axis `from` on.
    pub fn shape_with_tail(&mut self, head: &[i64], value: &str, from: usize) -> String {
        let tail: Option<Vec<i64>> =
            self.dims(value).and_then(|dims| dims.get(from..)?.iter().map(Dimension::known).collect());
        if let Some(tail) = tail {
            return self.ints(&[head, &tail].concat());
        }
        let shape = self.op("Shape", &[value]);
        let (start, end) = (self.ints(&[from as i64]), self.ints(&[i64::from(i32::MAX)]));
        let tail = self.op("Slice", &[&shape, &start, &end]);
        let head = self.ints(head);
        self.node("Concat", &[&head, &tail], |node| node.int("axis", 0))
    }

    /// The first elements of a value along some axes (counted from the front): as many as another has.
    pub fn cut_to(&mut self, value: &str, like: &str, axes: &[i64]) -> String {
        let sizes = |dims: Option<Vec<Dimension>>| -> Option<Vec<i64>> {
            let dims = dims?;
            axes.iter().map(|&axis| dims.get(usize::try_from(axis).ok()?)?.known()).collect()
        };
        let (from, to) = (sizes(self.dims(value)), sizes(self.dims(like)));
        if to.is_some() && from == to {
            return value.to_owned();
        }
        let ends = match to {
            Some(to) => self.ints(&to),
            None => {
                let (shape, axes) = (self.op("Shape", &[like]), self.ints(axes));
                self.node("Gather", &[&shape, &axes], |node| node.int("axis", 0))
            }
        };
        let starts = self.ints(&vec![0; axes.len()]);
        let axes = self.ints(axes);
        self.op("Slice", &[value, &starts, &ends, &axes])
    }

    /// Σ of several values of the same shape.
    pub fn sum(&mut self, values: &[String]) -> Option<String> {
        match values {
            [] => None,
            [only] => Some(only.clone()),
            [one, other] => Some(self.op("Add", &[one, other])),
            many => {
                let many: Vec<&str> = many.iter().map(String::as_str).collect();
                Some(self.op("Sum", &many))
            }
        }
    }
}
