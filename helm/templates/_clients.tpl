{{/*
The configuration of clients, as `lighterage client-config` prints it. `scheme` and `host` are the
address at which nodes reach the proxy.
*/}}

{{/* HOST:PORT of a list of both; an IPv6 address is in brackets. */}}
{{- define "lighterage.address" -}}
{{ ternary (printf "[%s]" (first .)) (first .) (contains ":" (first .)) }}:{{ last . }}
{{- end -}}

{{/* The first of a list of host names; of *.example.org, which stands for many, one that clients can use. */}}
{{- define "lighterage.firstHost" -}}
{{- $host := first . | default "" -}}
{{- range reverse . -}}
{{- if not (hasPrefix "*" .) }}{{ $host = . }}{{ end -}}
{{- end -}}
{{ replace "*" "lighterage" $host }}
{{- end -}}

{{/* SCHEME://HOST at which nodes reach the proxy, as far as the values say it; the host is ADDRESS if they do not. */}}
{{- define "lighterage.clients.url" -}}
{{- $scheme := ternary "https" "http" (ne .Values.tls.existingSecret "") -}}
{{- $service := .Values.service -}}
{{- $host := "ADDRESS" -}}
{{- if .Values.ingress.enabled -}}
{{- $scheme = ternary "https" "http" (not (empty .Values.ingress.tls)) -}}
{{- $host = include "lighterage.ingress.hosts" . | fromYamlArray | include "lighterage.firstHost" -}}
{{- else if and .Values.httpRoute.enabled .Values.httpRoute.hostnames -}}
{{- $scheme = "https" -}}
{{- $host = include "lighterage.firstHost" .Values.httpRoute.hostnames -}}
{{- else if .Values.hostPort -}}
{{- $host = printf "127.0.0.1:%v" .Values.hostPort -}}
{{- else if and (eq $service.type "NodePort") $service.nodePort -}}
{{- $host = printf "127.0.0.1:%v" $service.nodePort -}}
{{- else if $service.clusterIP -}}
{{- $host = include "lighterage.address" (list $service.clusterIP $service.port) -}}
{{- else if and (eq $service.type "LoadBalancer") $service.loadBalancerIP -}}
{{- $host = include "lighterage.address" (list $service.loadBalancerIP $service.port) -}}
{{- end -}}
{{ $scheme }}://{{ $host }}
{{- end -}}

{{- define "lighterage.upstreams" -}}
{{- $hub := dict "docker.io" (dict "url" "https://registry-1.docker.io" "default" true) -}}
{{- (.Values.config | default dict).upstreams | default $hub | toYaml -}}
{{- end -}}

{{- define "lighterage.clients.containerd" -}}
{{- range $name, $upstream := include "lighterage.upstreams" .root | fromYaml }}
# /etc/containerd/certs.d/{{ $name }}/hosts.toml
{{- if not $upstream.prefix }}
server = "{{ $upstream.url | trimSuffix "/" }}"
{{- end }}

[host."{{ $.scheme }}://{{ $.host }}"]
  capabilities = ["pull", "resolve"]
  dial_timeout = "2s"
{{ end }}
{{- end -}}

{{- define "lighterage.clients.docker" -}}
{{- $daemon := dict -}}
{{- $hub := get (include "lighterage.upstreams" .root | fromYaml) "docker.io" | default dict -}}
{{- if $hub.default }}{{ $_ := set $daemon "registry-mirrors" (list (printf "%s://%s" .scheme .host)) }}{{ end -}}
{{- if eq .scheme "http" }}{{ $_ := set $daemon "insecure-registries" (list .host) }}{{ end -}}
# /etc/docker/daemon.json (docker 1.11 and later): a mirror is for Docker Hub alone; for the others name the proxy in the image
{{ toJson $daemon }}
{{- end -}}

{{- define "lighterage.clients.podman" -}}
# /etc/containers/registries.conf.d/lighterage.conf: also for cri-o
{{- range $name, $upstream := include "lighterage.upstreams" .root | fromYaml }}
{{- $path := "" -}}
{{- range $known := prepend ($upstream.aliases | default list) $name -}}
{{- if and (not $path) (not (contains ":" $known)) }}{{ $path = $known }}{{ end -}}
{{- end -}}
{{- if or $upstream.default $path }}
[[registry]]
location = "{{ $name }}"
{{- if hasPrefix "http://" $upstream.url }}
insecure = true
{{- end }}

[[registry.mirror]]
location = "{{ $.host }}{{ if not $upstream.default }}/{{ $path }}{{ end }}"
{{- if eq $.scheme "http" }}
insecure = true
{{- end }}
{{ end }}
{{- end }}
{{- end -}}

{{- define "lighterage.clients.k3s" -}}
# /etc/rancher/k3s/registries.yaml
mirrors:
{{- range $name, $_ := include "lighterage.upstreams" .root | fromYaml }}
  {{ $name }}: {endpoint: ["{{ $.scheme }}://{{ $.host }}"]}
{{- end }}
{{- end -}}
