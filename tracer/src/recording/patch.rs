//! Merge patches (RFC 7396): what has changed in a tree of objects. Objects have no null in them, which means "gone";
//! arrays are replaced as a whole.

use serde_json::{Map, Value};

/// What makes `after` of `before`; `None` if nothing does.
pub fn difference(before: &Value, after: &Value) -> Option<Value> {
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        return (before != after).then(|| after.clone());
    };
    let mut patch = Map::new();
    for (key, value) in new {
        let changed = match old.get(key) {
            Some(was) => difference(was, value),
            None => Some(value.clone()),
        };
        if let Some(changed) = changed {
            patch.insert(key.clone(), changed);
        }
    }
    for gone in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(gone.clone(), Value::Null);
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// Changes a tree as a patch says.
pub fn apply(tree: &mut Value, patch: Value) {
    let Value::Object(changes) = patch else {
        *tree = patch;
        return;
    };
    if !tree.is_object() {
        *tree = Value::Object(Map::new());
    }
    let Value::Object(object) = tree else {
        return;
    };
    for (key, change) in changes {
        match change {
            Value::Null => drop(object.remove(&key)),
            change => apply(object.entry(key).or_insert(Value::Null), change),
        }
    }
}

/// Removes the nulls from all objects. Whatever reads a profile takes what is missing for null.
pub fn without_nulls(tree: &mut Value) {
    match tree {
        Value::Object(object) => {
            object.retain(|_, value| !value.is_null());
            object.values_mut().for_each(without_nulls);
        }
        Value::Array(values) => values.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_tree() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-c]{0,2}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-d]", inner, 0..5)
                    .prop_map(|object| Value::Object(object.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// A patch makes the later tree of the earlier one, and there is none where they are equal.
        #[test]
        fn patches_make_the_later_tree(before in any_tree(), after in any_tree()) {
            let mut tree = before.clone();
            match difference(&before, &after) {
                Some(patch) => apply(&mut tree, patch),
                None => prop_assert_eq!(&before, &after),
            }
            prop_assert_eq!(tree, after);
        }
    }
}
