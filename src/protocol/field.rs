//! Fields of messages, read leniently: a field of the wrong type is not an error until somebody asks for it.

use std::fmt;
use std::marker::PhantomData;
use std::mem;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::Value;
use super::error::Reason;

/// A field that may be missing or of another type than hoped for; null counts as missing.
#[derive(Debug, Default)]
pub(super) enum Field<T> {
    #[default]
    Missing,
    Wrong,
    Is(T),
}

impl<T> Field<T> {
    /// Takes it out.
    pub(super) fn required<'a>(
        &mut self,
        field: &'static str,
        expected: &'static str,
    ) -> Result<T, Reason<'a>> {
        self.optional(field, expected)?.ok_or(Reason::Missing(field))
    }

    /// Takes it out, if it is there.
    pub(super) fn optional<'a>(
        &mut self,
        field: &'static str,
        expected: &'static str,
    ) -> Result<Option<T>, Reason<'a>> {
        match mem::take(self) {
            Field::Missing => Ok(None),
            Field::Wrong => Err(Reason::WrongType { field, expected }),
            Field::Is(value) => Ok(Some(value)),
        }
    }
}

/// What makes something from a field's value: says which JSON values it can be made from. Anything else is read past.
pub(super) trait Wanted<'de>: Sized {
    type Found;

    fn take_bool(self, _: bool) -> Option<Self::Found> {
        None
    }

    fn take_int(self, _: i64) -> Option<Self::Found> {
        None
    }

    fn take_str(self, _: &'de str) -> Option<Self::Found> {
        None
    }

    fn take_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Option<Self::Found>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn take_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<Self::Found>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

impl Wanted<'_> for PhantomData<bool> {
    type Found = bool;

    fn take_bool(self, bool: bool) -> Option<bool> {
        Some(bool)
    }
}

impl Wanted<'_> for PhantomData<i64> {
    type Found = i64;

    fn take_int(self, int: i64) -> Option<i64> {
        Some(int)
    }
}

impl<'de> Wanted<'de> for PhantomData<&'de str> {
    type Found = &'de str;

    fn take_str(self, str: &'de str) -> Option<&'de str> {
        Some(str)
    }
}

impl<'de, T> Wanted<'de> for PhantomData<Vec<T>>
where
    PhantomData<T>: Wanted<'de, Found = T>,
{
    type Found = Vec<T>;

    fn take_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Option<Vec<T>>, A::Error> {
        let mut all = Vec::new();
        Ok(collect::<T, A>(seq, &mut all)?.map(|()| all))
    }
}

/// Arrays of names by name. They are only looked at: no design of ours does as a topology says.
pub(super) struct Neighbours;

impl<'de> Wanted<'de> for Neighbours {
    type Found = ();

    fn take_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<()>, A::Error> {
        let mut found = Some(());
        while let Some((_, names)) = map.next_entry::<&'de str, Field<Vec<&'de str>>>()? {
            if !matches!(names, Field::Is(_)) {
                found = None;
            }
        }
        Ok(found)
    }
}

/// Where an array's integers are wanted.
pub(super) struct Integers<'r>(pub(super) &'r mut Vec<Value>);

impl<'de> Wanted<'de> for Integers<'_> {
    type Found = ();

    fn take_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Option<()>, A::Error> {
        self.0.clear();
        collect::<Value, A>(seq, self.0)
    }
}

/// Collects all elements; nothing if one of them is wrong. Reads to the end in either case.
fn collect<'de, T, A>(mut seq: A, all: &mut Vec<T>) -> Result<Option<()>, A::Error>
where
    PhantomData<T>: Wanted<'de, Found = T>,
    A: SeqAccess<'de>,
{
    let mut found = Some(());
    while let Some(element) = seq.next_element::<Field<T>>()? {
        match element {
            Field::Is(element) => all.push(element),
            Field::Missing | Field::Wrong => found = None,
        }
    }
    Ok(found)
}

impl<'de, T> Deserialize<'de> for Field<T>
where
    PhantomData<T>: Wanted<'de, Found = T>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        FieldVisitor(PhantomData::<T>).deserialize(deserializer)
    }
}

/// Reads a field for whoever wants something of it.
pub(super) struct FieldVisitor<W>(pub(super) W);

impl<'de, W: Wanted<'de>> DeserializeSeed<'de> for FieldVisitor<W> {
    type Value = Field<W::Found>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, W: Wanted<'de>> Visitor<'de> for FieldVisitor<W> {
    type Value = Field<W::Found>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Field<W::Found>, E> {
        Ok(Field::Missing)
    }

    fn visit_bool<E>(self, bool: bool) -> Result<Field<W::Found>, E> {
        Ok(found(self.0.take_bool(bool)))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Field<W::Found>, E> {
        Ok(Field::Wrong)
    }

    fn visit_i64<E>(self, int: i64) -> Result<Field<W::Found>, E> {
        Ok(found(self.0.take_int(int)))
    }

    fn visit_u64<E>(self, int: u64) -> Result<Field<W::Found>, E> {
        Ok(found(i64::try_from(int).ok().and_then(|int| self.0.take_int(int))))
    }

    fn visit_borrowed_str<E>(self, str: &'de str) -> Result<Field<W::Found>, E> {
        Ok(found(self.0.take_str(str)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Field<W::Found>, A::Error> {
        self.0.take_seq(seq).map(found)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Field<W::Found>, A::Error> {
        self.0.take_map(map).map(found)
    }
}

fn found<T>(value: Option<T>) -> Field<T> {
    value.map_or(Field::Wrong, Field::Is)
}
