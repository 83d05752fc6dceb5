//! `balsa group reset-offsets`: a plan from what the topics have and where the group is, shown, and carried out if asked.

use super::{Reset, To, datetime, path, rows};
use crate::cli::exit::{Failure, Outcome};
use crate::cli::servers::{Output, encoded, print, table};
use crate::client::{ClientError, Request};
use http::Method;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

type Place = (String, i64);

/// One partition of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    place: Place,
    current: Option<i64>,
    new: i64,
    /// Where it was asked for, if the log does not reach so far.
    cut_from: Option<i64>,
}

pub async fn run(reset: &Reset) -> Outcome {
    let current = current(reset).await?;
    let wanted = wanted(reset, &current)?;
    let mut steps = Vec::new();
    for (topic, partitions) in &wanted {
        steps.extend(plan_topic(reset, topic, partitions, &current).await?);
    }
    for step in &steps {
        if let Some(asked) = step.cut_from {
            let (topic, partition) = &step.place;
            eprintln!(
                "partition {partition} of topic {topic}: offset {asked} is not in the log, so {} is taken",
                step.new
            );
        }
    }
    let offsets: Vec<Value> = steps
        .iter()
        .map(|step| json!({"topic": step.place.0, "partition": step.place.1, "offset": step.new}))
        .collect();
    if reset.execute {
        let request = Request::new(Method::POST, format!("{}/offsets", path(&reset.group)));
        reset.shared.ask(request.json(&json!({"offsets": offsets}))).await?;
    }
    show(reset, &steps, &offsets)
}

fn show(reset: &Reset, steps: &[Step], offsets: &[Value]) -> Outcome {
    if reset.shared.output == Output::Json {
        let answer = json!({"group": reset.group, "executed": reset.execute, "offsets": offsets});
        return print(&format!("{answer}\n"));
    }
    let row = |step: &Step| {
        let current = step.current.map_or("-".to_owned(), |offset| offset.to_string());
        vec![step.place.0.clone(), step.place.1.to_string(), current, step.new.to_string()]
    };
    print(&table(&["topic", "partition", "offset", "new offset"], steps.iter().map(row).collect()))?;
    if !reset.execute {
        eprintln!("nothing was changed: add --execute to do it");
    }
    Ok(())
}

/// Where the group is; nowhere, if there is none yet.
async fn current(reset: &Reset) -> Result<BTreeMap<Place, i64>, Failure> {
    let mut client = reset.shared.servers.client();
    let body = match client.fetch(Request::new(Method::GET, path(&reset.group))).await {
        Ok(body) => body,
        Err(ClientError::Problem(problem)) if problem.status == 404 => return Ok(BTreeMap::new()),
        Err(error) => return Err(error.into()),
    };
    let group = crate::cli::servers::parsed(&body)?;
    let offset =
        |of: &Value| Some(((of["topic"].as_str()?.to_owned(), of["partition"].as_i64()?), of["offset"].as_i64()?));
    Ok(rows(&group["offsets"]).filter_map(offset).collect())
}

/// Topics, each with the partitions that are named, or none for all.
fn wanted(reset: &Reset, current: &BTreeMap<Place, i64>) -> Result<BTreeMap<String, BTreeSet<i64>>, Failure> {
    let mut wanted: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
    if reset.all_topics {
        wanted = current.keys().map(|(topic, _)| (topic.clone(), BTreeSet::new())).collect();
        if wanted.is_empty() {
            return Err(Failure::usage(format_args!("group {} has no offsets: name topics with --topic", reset.group)));
        }
        return Ok(wanted);
    }
    for text in &reset.topics {
        let (topic, partitions) = match text.split_once(':') {
            None => (text.as_str(), BTreeSet::new()),
            Some((topic, list)) => {
                let numbers = list.split(',').map(|number| number.trim().parse().ok().filter(|at: &i64| *at >= 0));
                let numbers: Option<BTreeSet<i64>> = numbers.collect();
                let wrong = || Failure::usage(format_args!("--topic {text}: expected a topic, or topic:0,1"));
                (topic, numbers.filter(|numbers| !numbers.is_empty()).ok_or_else(wrong)?)
            }
        };
        wanted.insert(topic.to_owned(), partitions);
    }
    if wanted.is_empty() {
        return Err(Failure::usage("say which topics: --topic TOPIC (several times), or --all-topics"));
    }
    Ok(wanted)
}

async fn plan_topic(
    reset: &Reset,
    topic: &str,
    wanted: &BTreeSet<i64>,
    current: &BTreeMap<Place, i64>,
) -> Result<Vec<Step>, Failure> {
    let described = reset.shared.ask(Request::new(Method::GET, format!("/v1/topics/{}", encoded(topic)))).await?;
    let mut by_time = BTreeMap::new();
    if let Some(text) = &reset.to.to_datetime {
        let ms = datetime::parse(text).ok_or_else(|| {
            Failure::usage(format_args!(
                "--to-datetime {text}: expected a time such as 2026-01-31T08:30:00Z, or ms since 1970"
            ))
        })?;
        let target = format!("/v1/topics/{}/offsets?time={ms}", encoded(topic));
        let found = reset.shared.ask(Request::new(Method::GET, target)).await?;
        by_time = rows(&found["offsets"])
            .filter_map(|at| Some((at["partition"].as_i64()?, at["offset"].as_i64()?)))
            .collect();
    }
    let mut steps = Vec::new();
    for partition in rows(&described["partitions"]) {
        let (Some(number), Some(start), Some(end)) = (
            partition["partition"].as_i64(),
            partition["log_start_offset"].as_i64(),
            partition["high_watermark"].as_i64(),
        ) else {
            return Err(Failure::failed("the server's answer is not the description of a topic that was expected"));
        };
        if !wanted.is_empty() && !wanted.contains(&number) {
            continue;
        }
        let place = (topic.to_owned(), number);
        let now = current.get(&place).copied();
        let asked = target(&reset.to, now, start, end, by_time.get(&number).copied());
        let new = asked.clamp(start, end);
        steps.push(Step { place, current: now, new, cut_from: (new != asked).then_some(asked) });
    }
    if let Some(missing) = wanted.iter().find(|number| steps.iter().all(|step| step.place.1 != **number)) {
        return Err(Failure::usage(format_args!("topic {topic} has no partition {missing}")));
    }
    Ok(steps)
}

fn target(to: &To, current: Option<i64>, start: i64, end: i64, by_time: Option<i64>) -> i64 {
    if to.to_earliest {
        start
    } else if to.to_latest {
        end
    } else if let Some(offset) = to.to_offset {
        offset
    } else if let Some(count) = to.shift_by {
        current.unwrap_or(start).saturating_add(count)
    } else {
        by_time.unwrap_or(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to() -> To {
        To { to_earliest: false, to_latest: false, to_offset: None, to_datetime: None, shift_by: None }
    }

    #[test]
    fn each_way_has_its_target() {
        assert_eq!(target(&To { to_earliest: true, ..to() }, Some(5), 2, 9, None), 2);
        assert_eq!(target(&To { to_latest: true, ..to() }, Some(5), 2, 9, None), 9);
        assert_eq!(target(&To { to_offset: Some(77), ..to() }, Some(5), 2, 9, None), 77);
        assert_eq!(target(&To { shift_by: Some(-4), ..to() }, Some(5), 2, 9, None), 1);
        assert_eq!(
            target(&To { shift_by: Some(3), ..to() }, None, 2, 9, None),
            5,
            "from the start, where it is nowhere"
        );
        assert_eq!(target(&To { to_datetime: Some("1".into()), ..to() }, Some(5), 2, 9, Some(6)), 6);
    }
}
