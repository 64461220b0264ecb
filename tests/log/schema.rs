//! A validator for the part of JSON Schema that the schema of the log uses. An unknown keyword
//! fails the test.

use nobounce::observer::json::SCHEMA;
use serde_json::{Map, Value};

/// Checks a line against the schema of the log.
pub(crate) fn check(line: &str) {
    assert!(line.bytes().all(|octet| (b' '..=b'~').contains(&octet)), "{line:?}");
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    // Names the kind first: the errors of all alternatives would be hard to read.
    let kind =
        value["kind"].as_str().unwrap().replace('-', "_").replace("unacknowledged", "transaction");
    if let Err(fault) = valid(&schema, &schema["$defs"][&kind], &value) {
        panic!("{fault}\n{line}");
    }
    valid(&schema, &schema, &value).unwrap();
}

fn valid(root: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let rules = schema.as_object().unwrap();
    let fault = |what: &str| Err(format!("{value} is not {what}"));
    for (rule, argument) in rules {
        let number = || value.as_f64().zip(argument.as_f64());
        let holds = match rule.as_str() {
            "$schema" | "$defs" | "title" | "description" | "properties" => true,
            "$ref" => {
                let name = argument.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
                valid(root, &root["$defs"][name], value)?;
                true
            }
            "oneOf" => {
                let of = argument.as_array().unwrap().iter();
                of.filter(|it| valid(root, it, value).is_ok()).count() == 1
            }
            "anyOf" => {
                let any = argument.as_array().unwrap();
                let faults: Vec<_> =
                    any.iter().filter_map(|it| valid(root, it, value).err()).collect();
                if faults.len() == any.len() {
                    return Err(faults.join(", "));
                }
                true
            }
            "type" => types(argument).any(|name| is_of(name, value)),
            "const" => value == argument,
            "enum" => argument.as_array().unwrap().contains(value),
            "minimum" => number().is_none_or(|(value, bound)| value >= bound),
            "maximum" => number().is_none_or(|(value, bound)| value <= bound),
            "maxLength" => {
                value.as_str().is_none_or(|it| it.chars().count() as u64 <= bound(argument))
            }
            "maxItems" => value.as_array().is_none_or(|it| it.len() as u64 <= bound(argument)),
            "items" => {
                let mut items = value.as_array().into_iter().flatten();
                items.try_for_each(|item| valid(root, argument, item))?;
                true
            }
            "required" => types(argument).all(|key| value.get(key).is_some()),
            "additionalProperties" => {
                let known = rules.get("properties").and_then(Value::as_object);
                for (key, item) in value.as_object().into_iter().flat_map(Map::iter) {
                    match known.and_then(|known| known.get(key)) {
                        Some(rule) => {
                            valid(root, rule, item).map_err(|it| format!("{key}: {it}"))?
                        }
                        None if argument == &Value::Bool(false) => {
                            return fault(&format!("without {key}"));
                        }
                        None => valid(root, argument, item)?,
                    }
                }
                true
            }
            unknown => panic!("the validator does not know `{unknown}`"),
        };
        if !holds {
            return fault(&format!("{rule} {argument}"));
        }
    }
    Ok(())
}

/// Returns the strings of an array, or the string itself.
fn types(argument: &Value) -> impl Iterator<Item = &str> {
    let list = argument.as_array().map_or(std::slice::from_ref(argument), Vec::as_slice);
    list.iter().map(|it| it.as_str().unwrap())
}

fn is_of(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        unknown => panic!("no type `{unknown}`"),
    }
}

fn bound(argument: &Value) -> u64 {
    argument.as_u64().unwrap()
}
