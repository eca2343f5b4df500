// Matches arrivals to publishes, to measure latency. Data frames carry no event id, so the event's text is compared.
// Each published event is expected once on each matching subscription; further equal events, from elsewhere, get no
// latency.
import { matches } from '/editor/channels.js'

const EXPECTED_FOR_MS = 30_000

export class RoundTrips {
  constructor() {
    this.expected = new Map() // subscription id -> [{ text, began }]
  }

  // Returns a function that withdraws the expectation of one event, by index, for events that the service refuses.
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
