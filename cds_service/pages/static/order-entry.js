// What happens when a prescriber picks, changes or stops an order?
//
// The session holds draft orders, one of them selected. Every change of it calls the services of
// the order-select hook, as an EHR does, and shows what they answer.

import { $, asJson, el, fill } from "./dom.js";
import { allergyLine, bannerFacts, bannerName, chart } from "./chart.js";
import { cardNode, inOrder } from "./cards.js";
import { prefetchFor } from "./ehr.js";
import {
  ENCOUNTER, USER, applyField, fieldsOf, nameOf, newDraft, numberOf, referenceOf, renewalOf, wordsOf,
} from "./orders.js";
import { NoAdvice, call, discover, explain, getJson, sendFeedback } from "./service.js";

const PAUSE = 250; // milliseconds without a change before the service is called
const FIELDS = ["product", "dose", "unit", "route", "frequency", "duration"];

const state = {
  choices: null,
  services: [],
  chosen: null,
  patient: null,
  drafts: new Map(), // reference → resource, in the order they were made
  selected: null,
  drafted: 0,
  calls: 0,
  overtaken: null,
  timer: null,
  request: null,
};

// --- the session --------------------------------------------------------------------------------

const selected = () => state.drafts.get(state.selected) ?? null;
const isStopping = (draft) => draft !== null && !["draft", "active"].includes(draft.status);

function keep(resource) {
  const reference = referenceOf(resource);
  state.drafts.set(reference, resource);
  return reference;
}

function nextId() {
  state.drafted += 1;
  return `draft-${state.drafted}`;
}

function select(reference) {
  state.selected = reference;
  changed();
}

function remove(reference) {
  state.drafts.delete(reference);
  if (state.selected === reference) state.selected = null;
  changed();
}

function stop(order, status = "stopped") {
  select(keep({ ...structuredClone(order), status }));
}

const renew = (order) => select(keep(renewalOf(order, nextId(), state.patient)));

// Every change goes through here: the form, the list, the address, and then the service.
function changed() {
  showForm();
  showSession();
  showAddress();
  ask();
}

// --- the form -----------------------------------------------------------------------------------

const values = () => Object.fromEntries(FIELDS.map((name) => [name, $(name).value]));

function showForm() {
  const draft = selected();
  $("form-fields").hidden = isStopping(draft);
  $("stop-fields").hidden = !isStopping(draft);
  if (isStopping(draft)) {
    $("stop-words").textContent = `${nameOf(draft)}: ${wordsOf(draft, state.choices)}`;
    $("stop-status").value = draft.status;
    return;
  }
  const fields = draft ? fieldsOf(draft, state.choices) : {};
  for (const name of FIELDS) show($(name), fields[name] ?? "", name);
  checkDose();
}

function show(control, value, name) {
  if (control.tagName === "SELECT") {
    control.querySelector('option[value="other"]')?.remove();
    if (value === "other") control.append(el("option", { value: "other" }, otherWords(name)));
  }
  if (name === "unit" && value === "") return; // a unit without a dose says nothing: leave it
  if (document.activeElement !== control || control.tagName === "SELECT") control.value = value;
}

const otherWords = (name) => (name === "product" ? nameOf(selected()) : "As in the order");

function checkDose() {
  const wrong = $("dose").value.trim() !== "" && numberOf($("dose").value) === null;
  $("dose").setAttribute("aria-invalid", String(wrong));
  $("dose-problem").hidden = !wrong;
}

function edited(name) {
  const now = values();
  if (name === "product" && now.product === "") {
    if (state.selected) remove(state.selected);
    return;
  }
  if (now[name] === "other") return;
  checkDose();
  if (!selected() && name !== "product") return; // nothing is ordered yet
  const draft = selected() ?? newDraft(nextId(), state.patient);
  if (name === "product" && !now.dose) $("unit").value = unitOf(now.product);
  select(keep(applyField(draft, name, values(), state.choices)));
}

const unitOf = (product) => state.choices.products.find((p) => p.id === product).unit;

function another() {
  state.selected = null;
  changed();
  $("product").focus();
}

// --- what is ordered so far ---------------------------------------------------------------------

function showSession() {
  const items = [...state.drafts].map(([reference, resource]) => sessionItem(reference, resource));
  $("session").replaceChildren(
    ...(items.length ? items : [el("li", { class: "empty" }, "Nothing ordered yet.")]),
  );
}

function sessionItem(reference, resource) {
  const isSelected = reference === state.selected;
  const medicine = resource.resourceType === "MedicationRequest";
  const label = (verb) => `${verb}: ${nameOf(resource)}`;
  return el("li", { class: isSelected ? "selected" : null },
    el("div", { class: "what" }, nameOf(resource)),
    el("div", { class: "how" }, wordsOf(resource, state.choices)),
    el("div", { class: "row" },
      el("span", { class: "chip" }, resource.status),
      isSelected ? el("span", { class: "chip" }, "selected") : null,
      medicine && !isSelected
        ? el("button", { type: "button", class: "small", "aria-label": label("Select"), on: { click: () => select(reference) } }, "Select")
        : null,
      el("button", { type: "button", class: "small", "aria-label": label("Remove"), on: { click: () => remove(reference) } }, "Remove")));
}

// --- the address --------------------------------------------------------------------------------

function showAddress() {
  const query = new URLSearchParams({ patient: state.patient.id });
  const draft = selected();
  if (isStopping(draft)) query.set("stop", draft.id);
  else if (draft?.priorPrescription) query.set("renew", draft.priorPrescription.reference.split("/")[1]);
  else if (draft) {
    for (const [name, value] of Object.entries(fieldsOf(draft, state.choices))) {
      if (value && value !== "other") query.set(name, value);
    }
  } else query.set("product", "");
  history.replaceState(null, "", `?${query}`);
}

// What an address asks for; null: nothing but the patient.
function asked(query) {
  const wanted = Object.fromEntries([...query].filter(([name]) => name !== "patient"));
  return Object.keys(wanted).length ? wanted : null;
}

function begin(opening) {
  const order = state.patient.resources.find((r) => r.id === (opening.stop ?? opening.renew));
  if (order) return opening.stop ? stop(order) : renew(order);
  for (const name of FIELDS) if (name !== "product") show($(name), "", name);
  $("unit").value = "";
  $("product").value = opening.product ?? "";
  if (!$("product").value) return changed();
  let draft = newDraft(nextId(), state.patient);
  for (const name of FIELDS) {
    if (opening[name] !== undefined) draft = applyField(draft, name, opening, state.choices);
  }
  select(keep(draft));
  if (!opening.unit) $("unit").value = unitOf(opening.product);
}

// --- calling the service ------------------------------------------------------------------------

function ask() {
  clearTimeout(state.timer);
  state.overtaken?.abort();
  state.calls += 1;
  if (!selected()?.medicationCodeableConcept) {
    state.request = null;
    $("exchange").hidden = true;
    setStatus("");
    $("cards").replaceChildren(el("p", { class: "quiet" }, "Choose a product: the service is asked on every change."));
    return;
  }
  setStatus("Asking the service", true);
  state.timer = setTimeout(() => void exchange(state.calls), PAUSE);
}

function hookRequest(service) {
  const context = {
    userId: USER,
    patientId: state.patient.resources[0].id,
    encounterId: ENCOUNTER,
    selections: [state.selected],
    draftOrders: {
      resourceType: "Bundle",
      type: "collection",
      entry: [...state.drafts.values()].map((resource) => ({ resource })),
    },
  };
  const { prefetch, skipped } = prefetchFor(service.prefetch, context, state.patient);
  const request = { hook: service.hook, hookInstance: crypto.randomUUID(), context, prefetch };
  return { request, skipped };
}

async function exchange(number) {
  state.overtaken = new AbortController();
  const answers = [];
  const problems = [];
  for (const service of state.services) {
    const { request, skipped } = hookRequest(service);
    state.request = request;
    try {
      const answer = await call(service.id, request, state.overtaken.signal);
      if (number !== state.calls) return;
      answers.push(...answer.body.cards.map((card) => ({ card, service })));
      showExchange(service, request, answer, skipped);
    } catch (problem) {
      if (number !== state.calls) return; // a newer call is under way
      if (!(problem instanceof NoAdvice)) throw problem;
      problems.push(problem);
      showExchange(service, request, problem, skipped);
    }
  }
  showAnswers(answers, problems);
  await showExplanation(number);
}

function showAnswers(answers, problems) {
  const byCard = new Map(answers.map(({ card, service }) => [card, service]));
  const nodes = inOrder([...byCard.keys()]).map((card, n) =>
    cardNode(card, n === 0, actionsFor(byCard.get(card))));
  $("cards").replaceChildren(...problems.map(problemNode), ...nodes);
  if (!nodes.length && !problems.length) {
    $("cards").append(el("div", { class: "quiet fine" }, el("p", { class: "word" }, "No advice on this order"),
      el("p", {}, "The service looked at it and has nothing to add.")));
  }
  setStatus(problems.length ? "The service gave no answer" : counted([...byCard.keys()]));
}

function problemNode(problem) {
  return el("div", { class: "problem" }, el("h3", {}, "No advice could be given"),
    el("p", {}, problem.message), el("p", {}, "This says nothing about the order: it was not checked."));
}

function counted(cards) {
  if (!cards.length) return "No cards";
  const parts = ["critical", "warning", "info"]
    .map((level) => [cards.filter((card) => card.indicator === level).length, level])
    .filter(([n]) => n)
    .map(([n, level]) => `${n} ${level}${level === "warning" && n > 1 ? "s" : ""}`);
  return `${cards.length} ${cards.length === 1 ? "card" : "cards"}: ${parts.join(", ")}`;
}

function setStatus(text, busy = false) {
  $("status").textContent = text;
  $("advice").setAttribute("aria-busy", String(busy));
}

// --- what was sent and what came back -----------------------------------------------------------

function showExchange(service, request, answer, skipped) {
  const time = answer.ms === undefined ? "" : `, ${answer.ms.toFixed(0)} ms`;
  const left = skipped.length ? `. Not sent, this page cannot answer: ${skipped.join(", ")}` : "";
  $("exchange-line").textContent =
    `POST /cds-services/${service.id}: ${answer.status ?? "no answer"}${time}${left}`;
  $("request").textContent = asJson(request);
  $("response").textContent = answer.body ? asJson(answer.body) : answer.message ?? "";
  $("exchange").hidden = false;
}

async function showExplanation(number = state.calls) {
  if (!$("explanation-part").open || !state.request) return;
  try {
    const text = await explain(state.request);
    if (number === state.calls) $("explanation").textContent = text;
  } catch (problem) {
    if (!(problem instanceof NoAdvice)) throw problem;
    if (number === state.calls) $("explanation").textContent = problem.message;
  }
}

// --- what the prescriber does with a card -------------------------------------------------------

function actionsFor(service) {
  return {
    accept: (card, suggestion) => accept(service, card, suggestion),
    override: (card, reason, comment) => override(service, card, reason, comment),
  };
}

async function accept(service, card, suggestion) {
  for (const action of suggestion.actions ?? []) apply(action);
  changed();
  $("advice-title").focus();
  await tell(service, {
    card: card.uuid,
    outcome: "accepted",
    acceptedSuggestions: [{ id: suggestion.uuid }],
    outcomeTimestamp: new Date().toISOString(),
  });
}

// Send feedback on a card and say what became of it. A card without a uuid cannot be spoken of.
async function tell(service, feedback) {
  const said = feedback.card
    ? await sendFeedback(service.id, feedback)
    : "The card has no uuid, so there is no feedback on it.";
  $("feedback-line").textContent = `${feedback.outcome === "accepted" ? "Accepted" : "Overridden"}. ${said}`;
  return said;
}

function apply(action) {
  if (action.type === "delete") {
    state.drafts.delete(action.resourceId);
    if (state.selected === action.resourceId) state.selected = null;
  } else if (action.type === "update") {
    keep(action.resource);
  } else {
    keep({ ...action.resource, id: nextId() });
  }
}

async function override(service, card, reason, comment) {
  const why = {};
  if (reason) why.reason = { code: reason.code, system: reason.system };
  if (comment) why.userComment = comment;
  const feedback = { card: card.uuid, outcome: "overridden", outcomeTimestamp: new Date().toISOString() };
  if (Object.keys(why).length) feedback.overrideReason = why;
  const said = reason ? `Overridden: ${reason.display ?? reason.code}.` : "Overridden.";
  return `${said} ${await tell(service, feedback)}`;
}

// --- the patient --------------------------------------------------------------------------------

async function choose(id, opening = null) {
  state.chosen = id;
  const patient = await getJson(`/demo/patients/${encodeURIComponent(id)}`);
  if (state.chosen !== id) return; // another was chosen meanwhile
  Object.assign(state, { patient, drafts: new Map(), selected: null, drafted: 0 });
  $("patient").value = id;
  $("feedback-line").textContent = "";
  $("banner-name").textContent = bannerName(patient);
  $("banner-facts").replaceChildren(...bannerFacts(patient));
  $("banner-allergies").replaceChildren(...allergyLine(patient));
  $("shows").textContent = `${patient.title}. What to see: ${patient.shows}`;
  $("chart-parts").replaceChildren(...chart(patient, state.choices, { renew, stop }));
  $("banner").hidden = false;
  $("workspace").hidden = false;
  begin(opening ?? patient.opening);
}

function offerPatients(patients) {
  const groups = [...new Set(patients.map((p) => p.group))];
  $("patient").replaceChildren(...groups.map((group) =>
    el("optgroup", { label: group }, ...patients.filter((p) => p.group === group).map((p) =>
      el("option", { value: p.id }, `${p.title} (${p.name})`)))));
}

function offerChoices(choices) {
  fill($("product"), choices.products, "Choose a product");
  fill($("unit"), choices.units, "Unit");
  fill($("route"), choices.routes, "Not specified");
  fill($("frequency"), choices.frequencies, "Not specified");
  fill($("duration"), choices.durations, "Until stopped, or not specified");
}

function listen() {
  $("patient").addEventListener("change", () => void guarded(() => choose($("patient").value)));
  for (const name of FIELDS) {
    $(name).addEventListener(name === "dose" ? "input" : "change", () => edited(name));
  }
  $("order-form").addEventListener("submit", (event) => event.preventDefault());
  $("stop-status").addEventListener("change", () => stop(selected(), $("stop-status").value));
  $("stop-undo").addEventListener("click", () => { remove(state.selected); $("product").focus(); });
  $("another").addEventListener("click", another);
  $("explanation-part").addEventListener("toggle", () => void showExplanation());
}

// What stops the page is said on the page.
async function guarded(step) {
  $("page-problem").hidden = true;
  try {
    await step();
  } catch (problem) {
    if (!(problem instanceof NoAdvice)) throw problem;
    $("page-problem").textContent = `The page could not be loaded. ${problem.message}`;
    $("page-problem").hidden = false;
  }
}

async function start() {
  const [choices, services] = await Promise.all([getJson("/demo/catalogue"), discover()]);
  Object.assign(state, { choices, services });
  offerPatients(choices.patients);
  offerChoices(choices);
  listen();
  const query = new URLSearchParams(location.search);
  const known = choices.patients.map((p) => p.id);
  const wanted = query.get("patient");
  await choose(known.includes(wanted) ? wanted : known[0], known.includes(wanted) ? asked(query) : null);
}

void guarded(start);
