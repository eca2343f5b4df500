// Which arrival belongs to which publish. The service's frames carry no number of the event, so the text tells; each
// publish is expected once on each matching subscription, and no more: an equal event from elsewhere has no latency.
import { matches } from '/editor/channels.js'

const EXPECTED_FOR_MS = 30_000

export class RoundTrips {
  constructor() {
    this.expected = new Map() // subscription id -> [{ text, began }]
  }

  // Returns what takes back the expectation of one event, for the ones that the service refuses.
  sent(subscriptions, channel, texts, began) {
    const made = texts.map((text) => ({ text, began }))
    for (const [id, { channel: pattern, live }] of subscriptions) {
      if (live && matches(pattern, channel)) this.expected.set(id, [...this.fresh(id, began), ...made])
    }
    return (index) => {
      for (const [id, list] of this.expected) this.expected.set(id, list.filter((one) => one !== made[index]))
    }
  }

  arrived(id, text, now) {
    const list = this.expected.get(id) ?? []
    const place = list.findIndex((one) => one.text === text && now - one.began < EXPECTED_FOR_MS)
    return place < 0 ? null : now - list.splice(place, 1)[0].began
  }

  forget(id) {
    this.expected.delete(id)
  }

  clear() {
    this.expected.clear()
  }

  fresh(id, now) {
    return (this.expected.get(id) ?? []).filter(({ began }) => now - began < EXPECTED_FOR_MS)
  }
}
