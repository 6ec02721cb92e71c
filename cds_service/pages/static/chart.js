// What does the record say that matters to this order? As an EHR shows it beside the order.

import { el } from "./dom.js";
import { nameOf, wordsOf } from "./orders.js";

const dateOf = (text) => (text ? text.slice(0, 10) : "date not recorded");
const byDate = (a, b) => (b.on ?? "").localeCompare(a.on ?? "");
// The newest first; of one day, what the laboratory flagged.
const byNews = (a, b) => byDate(a, b) || Number(Boolean(b.flag)) - Number(Boolean(a.flag));
const code = (concept) => concept?.coding?.[0]?.code ?? "";
const isNumber = (value) => value !== undefined && value !== null;

export function age(birthDate, asOf) {
  const [born, now] = [birthDate.split("-"), asOf.split("-")].map((p) => p.map(Number));
  const before = now[1] < born[1] || (now[1] === born[1] && now[2] < born[2]);
  return now[0] - born[0] - (before ? 1 : 0);
}

export function bannerFacts(patient) {
  const person = patient.resources[0];
  const born = person.birthDate;
  const facts = [
    ["Born", born ? `${born} (${age(born, patient.asOf)} years)` : "not recorded"],
    ["Sex", person.gender ?? "not recorded"],
    ["Record", person.identifier?.[0]?.value ?? person.id],
    ["Today", patient.asOf],
  ];
  return facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)));
}

export function bannerName(patient) {
  const name = patient.resources[0].name?.[0] ?? {};
  return `${(name.family ?? "").toUpperCase()}, ${(name.given ?? []).join(" ")}`;
}

export function allergyLine(patient) {
  const label = el("span", {}, "Allergies: ");
  if (patient.failing.includes("AllergyIntolerance")) {
    return [label, el("span", { class: "alert" }, "cannot be read now")];
  }
  const held = ofType(patient, "AllergyIntolerance");
  if (!held.length) return [label, "none recorded"];
  return [label, el("span", { class: "alert" }, held.map(allergy).join("; "))];
}

function allergy(resource) {
  const reaction = resource.reaction?.[0]?.manifestation?.[0]?.text;
  const status = code(resource.verificationStatus);
  const doubt = status && status !== "confirmed" ? ` (${status})` : "";
  return `${nameOf(resource)}${reaction ? `, ${reaction.toLowerCase()}` : ""}${doubt}`;
}

const ofType = (patient, type) => patient.resources.filter((r) => r.resourceType === type);

// `actions`: {renew(order), stop(order)}. Sections are open where there is room for them.
export function chart(patient, choices, actions) {
  const open = !window.matchMedia("(max-width: 760px)").matches;
  const lab = (r) => code(r.category?.[0]) === "laboratory";
  const seen = ofType(patient, "Observation");
  const parts = [
    part("Problems", "Condition", ofType(patient, "Condition").map(problem).sort(byDate)),
    part("Results", "Observation", seen.filter(lab).map(result).sort(byNews), results),
    part("Operations", "Procedure", ofType(patient, "Procedure").map(operation).sort(byDate)),
    part("Findings and measurements", "Observation", seen.filter((r) => !lab(r)).map(measured)),
    part("Medicines", "MedicationRequest", medicines(patient, choices, actions)),
    part("Family history", "FamilyMemberHistory", ofType(patient, "FamilyMemberHistory").map(relative)),
    part("Requests", "ServiceRequest", ofType(patient, "ServiceRequest").map(requested)),
  ];
  const needed = ["Problems", "Results", "Operations", "Medicines"];
  return parts
    .filter((p) => p.items.length || needed.includes(p.title) || patient.failing.includes(p.type))
    .map((p) => section(p, patient, open));
}

const part = (title, type, items, render = list) => ({ title, type, items, render });

function section({ title, type, items, render }, patient, open) {
  const failing = patient.failing.includes(type);
  const count = failing ? "not read" : String(items.length);
  const content = failing
    ? el("p", { class: "failing" }, "This query fails, as in an outage of the EHR.")
    : items.length
      ? render(items)
      : el("p", { class: "none" }, "None recorded.");
  const head = el("summary", {}, `${title} `, el("span", { class: "count" }, `(${count})`));
  return el("details", { open }, head, content);
}

const list = (items) =>
  el("ul", {}, ...items.map((item) =>
    el("li", {}, el("div", {}, item.what), item.when && el("div", { class: "when" }, item.when), item.extra),
  ));

function problem(resource) {
  const clinical = code(resource.clinicalStatus);
  const certainty = code(resource.verificationStatus);
  const said = [
    resource.onsetDateTime && `since ${dateOf(resource.onsetDateTime)}`,
    clinical !== "active" && clinical,
    certainty !== "confirmed" && certainty,
  ];
  return { what: nameOf(resource), when: said.filter(Boolean).join(", "), on: resource.onsetDateTime };
}

function operation(resource) {
  const when = `${dateOf(resource.performedDateTime)}${resource.status === "completed" ? "" : `, ${resource.status}`}`;
  return { what: nameOf(resource), when, on: resource.performedDateTime };
}

function quantity(q) {
  return isNumber(q?.value) ? `${q.comparator ?? ""}${q.value} ${q.unit ?? "(no unit)"}` : null;
}

function valueOf(resource) {
  if (resource.valueBoolean === false) return "absent";
  return quantity(resource.valueQuantity) ?? resource.valueString ?? resource.valueCodeableConcept?.text ?? "no value";
}

function measured(resource) {
  return {
    what: `${nameOf(resource)}: ${valueOf(resource)}`,
    when: dateOf(resource.effectiveDateTime),
    on: resource.effectiveDateTime,
  };
}

const FLAGS = { L: "low", LL: "critically low", H: "high", HH: "critically high", A: "abnormal" };

function result(resource) {
  const flag = code(resource.interpretation?.[0]);
  return {
    what: nameOf(resource),
    value: valueOf(resource),
    flag: FLAGS[flag] ?? "",
    on: resource.effectiveDateTime,
  };
}

function results(items) {
  const head = el("tr", {}, ...["Test", "Value", "Date"].map((t) => el("th", { scope: "col" }, t)));
  const rows = items.map((item) =>
    el("tr", {},
      el("th", { scope: "row" }, item.what),
      el("td", { class: `value${item.flag ? " abnormal" : ""}` }, item.value,
        item.flag && el("span", { class: "flag" }, item.flag)),
      el("td", { class: "date" }, dateOf(item.on)),
    ));
  return el("table", { class: "results" }, el("thead", {}, head), el("tbody", {}, ...rows));
}

function medicines(patient, choices, actions) {
  const orders = ofType(patient, "MedicationRequest").map((order) => ({
    what: `${nameOf(order)}: ${wordsOf(order, choices)}`,
    when: `${order.status} since ${dateOf(order.authoredOn)}`,
    extra: order.status === "active" ? buttons(order, actions) : null,
  }));
  return [...orders, ...given(ofType(patient, "MedicationAdministration"))];
}

function buttons(order, actions) {
  const button = (label, act) =>
    el("button", { type: "button", class: "small", "aria-label": `${label}: ${nameOf(order)}`, on: { click: () => act(order) } }, label);
  return el("div", { class: "row" }, button("Renew", actions.renew), button("Stop", actions.stop));
}

function given(doses) {
  const groups = new Map();
  for (const dose of doses) groups.set(nameOf(dose), [...(groups.get(nameOf(dose)) ?? []), dose.effectiveDateTime]);
  return [...groups].map(([what, days]) => ({
    what: `${what}: ${days.length} ${days.length === 1 ? "dose" : "doses"} given`,
    when: `last on ${dateOf([...days].sort().at(-1))}`,
  }));
}

function relative(resource) {
  const who = resource.relationship?.coding?.[0]?.code ?? "relative";
  return { what: (resource.condition ?? []).map(nameOf).join(", "), when: `relative: ${who}` };
}

const requested = (resource) => ({ what: nameOf(resource), when: dateOf(resource.authoredOn) });
