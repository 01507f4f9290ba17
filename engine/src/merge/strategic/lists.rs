//! The order of merged lists, and what their items must be. Pure.
use serde_json::Value;

use super::{DIRECTIVE, text};

/// What the items of lists are: one kind in all of them, and not lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Items {
    Maps,
    Scalars,
}

pub(super) fn items(lists: &[&[Value]]) -> Result<Items, String> {
    let mut all = lists.iter().flat_map(|list| list.iter());
    let first = all.next().ok_or("a merged list has no items")?;
    match first {
        Value::Null => Err("a merged list holds a null".to_owned()),
        Value::Array(_) => Err("a merged list holds a list".to_owned()),
        _ if all.any(|item| super::kind(item) != super::kind(first)) => {
            Err("the items of a merged list are not of one kind".to_owned())
        }
        Value::Object(_) => Ok(Items::Maps),
        _ => Ok(Items::Scalars),
    }
}

/// The value of the merge key of an item.
pub(super) fn key_of<'a>(item: &'a Value, key: &str) -> Result<&'a Value, String> {
    let map = item.as_object().ok_or("an item of a list that is merged by key is no map")?;
    map.get(key).ok_or_else(|| format!("an item of a list that is merged by {key:?} does not have it"))
}

fn identity<'a>(item: &'a Value, key: &str, of: Items) -> Option<&'a Value> {
    match of {
        Items::Maps => item.get(key),
        Items::Scalars => Some(item),
    }
}

fn place(list: &[Value], item: &Value, key: &str, of: Items) -> Option<usize> {
    let wanted = identity(item, key, of);
    list.iter().position(|one| identity(one, key, of) == wanted)
}

/// The first item with this value of the merge key.
pub(super) fn find(list: &[Value], key: &str, value: &Value) -> Result<Option<usize>, String> {
    for (at, item) in list.iter().enumerate() {
        let map = item.as_object().ok_or("an item of a list that is merged by key is no map")?;
        if map.get(key) == Some(value) {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

pub(super) fn is_deletion(item: &Value) -> bool {
    item[DIRECTIVE] == "delete"
}

/// Sorts by the order of another list; deletions come last. An item that the other list does not have comes before its
/// neighbour, which is what Go's stable sort makes of it.
pub(super) fn ordered(list: Vec<Value>, order: &[Value], key: &str, of: Items) -> Result<Vec<Value>, String> {
    let (deletions, mut rest): (Vec<Value>, Vec<Value>) = match of {
        Items::Maps => {
            for item in list.iter().chain(order) {
                key_of(item, key)?;
            }
            list.into_iter().partition(is_deletion)
        }
        Items::Scalars => (Vec::new(), list),
    };
    let places: Vec<Option<usize>> = rest.iter().map(|item| place(order, item, key, of)).collect();
    let mut by: Vec<usize> = (0..rest.len()).collect();
    if places.iter().all(Option::is_some) {
        by.sort_by_key(|at| places.get(*at).copied().flatten());
    } else {
        let before = |a: usize, b: usize| match (places.get(a).copied().flatten(), places.get(b).copied().flatten()) {
            (Some(a), Some(b)) => a < b,
            _ => true,
        };
        insertion_sort(&mut by, |a, b| before(*a, *b));
    }
    let mut taken: Vec<Option<Value>> = rest.drain(..).map(Some).collect();
    let mut sorted: Vec<Value> = by.into_iter().filter_map(|at| taken.get_mut(at)?.take()).collect();
    sorted.extend(deletions);
    Ok(sorted)
}

/// As Go sorts short slices. With an order that is none (or one that takes equals to be in order both ways) the result
/// depends on the algorithm, so it has to be this one.
pub(super) fn insertion_sort<T>(list: &mut [T], before: impl Fn(&T, &T) -> bool) {
    for end in 1..list.len() {
        let mut at = end;
        while at > 0 && matches!((list.get(at), list.get(at - 1)), (Some(a), Some(b)) if before(a, b)) {
            list.swap(at, at - 1);
            at -= 1;
        }
    }
}

/// Sorted by the text of their merge key, equals turned around.
pub(super) fn sorted_by_key(list: &[Value], key: &str) -> Vec<Value> {
    let mut sorted = list.to_vec();
    if sorted.len() <= 12 {
        insertion_sort(&mut sorted, |a, b| text(a.get(key)) <= text(b.get(key)));
    } else {
        sorted.reverse();
        sorted.sort_by_key(|item| text(item.get(key)));
    }
    sorted
}

pub(super) fn sorted_scalars(list: &[Value]) -> Vec<Value> {
    let mut sorted = list.to_vec();
    sorted.sort_by_key(|item| text(Some(item)));
    sorted
}

/// Each value once. Go fills the gap of a duplicate with the last item.
pub(super) fn once(mut list: Vec<Value>) -> Vec<Value> {
    let mut at = 0;
    while at < list.len() {
        let mut other = at + 1;
        while other < list.len() {
            if list[at] == list[other] {
                list.swap_remove(other);
            } else {
                other += 1;
            }
        }
        at += 1;
    }
    list
}

/// Patched items in the order wanted, and between them those that only the live list has, as near to their old
/// neighbours as can be.
pub(super) fn interleaved(
    patched: Vec<Value>,
    live_only: Vec<Value>,
    wanted: &[Value],
    live: &[Value],
    key: &str,
    of: Items,
) -> Result<Vec<Value>, String> {
    let patched = ordered(patched, wanted, key, of)?;
    let live_only = ordered(live_only, live, key, of)?;
    let mut all = Vec::with_capacity(patched.len() + live_only.len());
    let mut right = patched.into_iter().peekable();
    for left in live_only {
        while let Some(next) = right.peek() {
            let (mine, theirs) = (place(live, &left, key, of), place(live, next, key, of));
            if matches!((mine, theirs), (Some(mine), Some(theirs)) if mine < theirs) {
                break;
            }
            all.extend(right.next());
        }
        all.push(left);
    }
    all.extend(right);
    Ok(all)
}

/// Parts a list into what another list has too and what it has not.
pub(super) fn split(list: Vec<Value>, by: &[Value], key: &str) -> Result<(Vec<Value>, Vec<Value>), String> {
    let (mut both, mut alone) = (Vec::new(), Vec::new());
    for item in list {
        let has = if key.is_empty() { by.contains(&item) } else { find(by, key, key_of(&item, key)?)?.is_some() };
        if has { both.push(item) } else { alone.push(item) }
    }
    Ok((both, alone))
}
