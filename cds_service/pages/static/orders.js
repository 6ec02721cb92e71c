// How does an order on the form become a draft MedicationRequest, and back?

export const UCUM = "http://unitsofmeasure.org";
const RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm";
const SNOMED = "http://snomed.info/sct";

export const USER = "Practitioner/demo-prescriber";
export const ENCOUNTER = "demo-encounter";

export const referenceOf = (resource) => `${resource.resourceType}/${resource.id}`;

export function newDraft(id, patient) {
  return {
    resourceType: "MedicationRequest",
    id,
    status: "draft",
    intent: "order",
    subject: { reference: `Patient/${patient.resources[0].id}` },
    encounter: { reference: `Encounter/${ENCOUNTER}` },
    authoredOn: patient.asOf,
    requester: { reference: USER },
  };
}

// A new draft with the medicine and dosage of an order of the record, as its successor.
export function renewalOf(order, id, patient) {
  return {
    ...newDraft(id, patient),
    medicationCodeableConcept: order.medicationCodeableConcept,
    dosageInstruction: order.dosageInstruction,
    priorPrescription: { reference: referenceOf(order) },
  };
}

// Put what one control says into the draft; everything else in it stays as it is.
export function applyField(draft, name, values, choices) {
  const changed = structuredClone(draft);
  if (name === "product") {
    const product = choices.products.find((p) => p.id === values.product);
    changed.medicationCodeableConcept = {
      coding: [{ system: RXNORM, code: product.code, display: product.display }],
      text: product.name,
    };
    return changed;
  }
  const dosage = changed.dosageInstruction?.[0] ?? {};
  if (name === "dose" || name === "unit") put(dosage, "doseAndRate", dose(values, choices));
  if (name === "route") put(dosage, "route", route(values, choices));
  if (name === "frequency" || name === "duration") put(dosage, "timing", timing(values, choices));
  delete dosage.text; // it described what was there before
  put(changed, "dosageInstruction", Object.keys(dosage).length ? [dosage] : undefined);
  return changed;
}

function put(object, name, value) {
  if (value === undefined) delete object[name];
  else object[name] = value;
}

function dose(values, choices) {
  const value = numberOf(values.dose);
  const unit = choices.units.find((u) => u.id === values.unit);
  if (value === null || !unit) return undefined;
  return [{ doseQuantity: { value, unit: unit.name, system: UCUM, code: unit.code } }];
}

// A decimal as a person writes it; null for nothing, or for what is no number.
export function numberOf(text) {
  const plain = text.trim().replace(",", ".");
  return /^\d{1,8}(\.\d{1,6})?$/.test(plain) ? Number(plain) : null;
}

function route(values, choices) {
  const chosen = choices.routes.find((r) => r.id === values.route);
  if (!chosen) return undefined;
  const coding = { system: SNOMED, code: chosen.code, display: chosen.display };
  return { coding: [coding], text: chosen.display };
}

function timing(values, choices) {
  const frequency = choices.frequencies.find((f) => f.id === values.frequency);
  const duration = choices.durations.find((d) => d.id === values.duration);
  const repeat = { ...frequency?.repeat };
  if (duration) {
    const { value, unit, code } = duration;
    repeat.boundsDuration = { value, unit, system: UCUM, code };
  }
  return Object.keys(repeat).length ? { repeat } : undefined;
}

// What the form shows of a draft: ids of choices, "" for nothing, "other" for what it has no word for.
export function fieldsOf(draft, choices) {
  const dosage = draft.dosageInstruction?.[0] ?? {};
  const quantity = dosage.doseAndRate?.[0]?.doseQuantity;
  const repeat = dosage.timing?.repeat;
  return {
    product: productOf(draft, choices),
    dose: quantity?.value === undefined ? "" : String(quantity.value),
    unit: quantity ? idOf(choices.units, (u) => u.code === quantity.code) : "",
    route: dosage.route ? idOf(choices.routes, (r) => hasCode(dosage.route, r.code)) : "",
    frequency: frequencyOf(repeat, choices),
    duration: durationOf(repeat, choices),
  };
}

const idOf = (list, test) => list.find(test)?.id ?? "other";
const hasCode = (concept, code) => (concept.coding ?? []).some((c) => c.code === code);

function productOf(draft, choices) {
  const medicine = draft.medicationCodeableConcept;
  if (!medicine) return "";
  return idOf(choices.products, (p) => hasCode(medicine, p.code));
}

const RHYTHM = ["frequency", "frequencyMax", "period", "periodMax", "periodUnit"];

function frequencyOf(repeat, choices) {
  if (!repeat || (repeat.frequency === undefined && repeat.period === undefined)) return "";
  return idOf(choices.frequencies, (f) => RHYTHM.every((name) => f.repeat[name] === repeat[name]));
}

function durationOf(repeat, choices) {
  const bounds = repeat?.boundsDuration;
  if (!bounds) return repeat?.boundsPeriod ? "other" : "";
  return idOf(choices.durations, (d) => d.value === bounds.value && d.code === bounds.code);
}

// --- an order in words ------------------------------------------------------------------------

export function nameOf(resource) {
  const concept = resource.medicationCodeableConcept ?? resource.code;
  return concept?.text ?? concept?.coding?.[0]?.display ?? "No product yet";
}

export function wordsOf(resource, choices) {
  if (resource.resourceType !== "MedicationRequest") return serviceWords(resource);
  const dosage = resource.dosageInstruction?.[0];
  if (!dosage) return "no details yet";
  if (dosage.text) return dosage.text;
  const fields = fieldsOf(resource, choices);
  const said = (list, id) => list.find((entry) => entry.id === id)?.name.toLowerCase();
  const amount = fields.dose && `${fields.dose} ${dosage.doseAndRate[0].doseQuantity.unit ?? ""}`.trim();
  const bounds = said(choices.durations, fields.duration);
  const parts = [
    amount,
    said(choices.routes, fields.route),
    said(choices.frequencies, fields.frequency),
    bounds && `for ${bounds}`,
  ];
  return parts.filter(Boolean).join(", ") || "no details yet";
}

function serviceWords(resource) {
  const urgent = resource.priority && resource.priority !== "routine" ? `${resource.priority}, ` : "";
  return `${urgent}${resource.resourceType === "ServiceRequest" ? "request" : resource.resourceType}`;
}
