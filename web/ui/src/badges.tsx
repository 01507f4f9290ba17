// Sync and health as a sign, a word and a colour: never colour alone.
import type { Health, Sync } from "./model.ts";

const signs: Record<Sync | Health, string> = {
  Synced: "✓",
  OutOfSync: "↯",
  Unknown: "?",
  Healthy: "♥",
  Suspended: "⏸",
  Progressing: "◔",
  Missing: "○",
  Degraded: "✕",
};

export function Badge({ value }: { value: Sync | Health }) {
  return (
    <span class={`badge ${value}`}>
      <span aria-hidden="true">{signs[value]}</span> {value}
    </span>
  );
}
