// Times as a person reads them: instants on the viewer's clock, study times as the scanner's clock showed them.

export const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;

const clock = new Intl.DateTimeFormat("en-CA", {
  timeZone: ZONE,
  year: "numeric",
  month: "2-digit",
  day: "2-digit",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
  timeZoneName: "longOffset",
});

function parts(instant: string): Record<string, string> {
  return Object.fromEntries(clock.formatToParts(new Date(instant)).map(({ type, value }) => [type, value]));
}

/** `2024-03-11 14:07` in the viewer's zone. */
export function writeInstant(instant: string): string {
  const { year, month, day, hour, minute } = parts(instant);
  return `${year?.padStart(4, "0")}-${month}-${day} ${hour}:${minute}`;
}

/** With seconds and the offset: `2024-03-11 14:07:28 UTC+01:00`. */
export function writeInstantExactly(instant: string): string {
  const { second, timeZoneName = "" } = parts(instant);
  return `${writeInstant(instant)}:${second} ${timeZoneName.replace("GMT", "UTC")}`;
}

/** `2024-03-11 14:07` of a scanner's `2024-03-11T14:07:28.5`. */
export function writeWallClock(moment: string): string {
  return moment.slice(0, 16).replace("T", " ");
}

/** The zone with what its clock is now away from UTC. */
export function zoneWords(): string {
  const offset = (parts(new Date().toISOString()).timeZoneName ?? "").replace("GMT", "UTC");
  return ZONE === offset ? ZONE : `${ZONE} (${offset})`;
}

/** A day of a histogram, as its bucket's label. */
export function writeDay(day: string, interval: "DAY" | "MONTH" | "YEAR"): string {
  const options: Intl.DateTimeFormatOptions = { timeZone: "UTC", year: "numeric" };
  if (interval !== "YEAR") options.month = "short";
  if (interval === "DAY") options.day = "numeric";
  return new Intl.DateTimeFormat("en-GB", options).format(new Date(`${day}T00:00:00Z`));
}
