// JSON that keeps numbers as written: a plain JSON.parse would round 12345678901234567890.
const exact = typeof JSON.rawJSON === 'function'

const keepNumber = (_, value, context) =>
  exact && typeof value === 'number' && context?.source !== undefined ? JSON.rawJSON(context.source) : value

export const parse = (text) => JSON.parse(text, keepNumber)

export function pretty(text) {
  try {
    return JSON.stringify(parse(text), null, 2)
  } catch {
    return text
  }
}
